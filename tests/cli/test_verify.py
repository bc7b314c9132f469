"""``jalon verify``: whole or what is wrong, line by line."""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import jalon
from jalon.cli.contents import apart
from jalon.engines.torch.demo import digits, network
from jalon.engines.torch.formats import Checkpoint, write_checkpoint
from jalon.errors import ArgumentError, JalonWarning
from jalon.store.snapshot import Snapshot, Snapshots

SUFFIXES = [".safetensors", ".h5", ".pt"]


def save(path, epoch=0):
    """Write a checkpoint with an optimizer's state."""
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    write_checkpoint(path, Checkpoint(net.state_dict(), optimizer.state_dict(), {"epoch": epoch}))
    return path


def zeroed(path, size):
    """Put zeros in the place of the middle of a file."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(size) + content[middle + size :])


def tree(folder):
    """Return all that is in a folder: names, contents, times of change."""
    return {path: (path.is_file() and path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_whole_file(tmp_path, call, suffix):
    """A whole file is said to be, and all is well."""
    path = save(tmp_path / f"net{suffix}")

    assert (0, [f"whole  {path}  checkpoint, {suffix}"]) == call("verify", path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", [lambda path: zeroed(path, 200), lambda path: os.truncate(path, path.stat().st_size - 40)])
def test_a_damaged_file(tmp_path, call, suffix, damage):
    """Of a damaged file the reason and the remedy are on its line, others are judged by themselves, and the command fails."""
    whole, broken = save(tmp_path / "a.pt"), save(tmp_path / f"b{suffix}")
    damage(broken)

    code, lines = call("verify", tmp_path)

    assert 1 == code
    assert f"whole    {whole}  checkpoint, .pt" == lines[0]
    assert re.fullmatch(rf"damaged  {re.escape(str(broken))}  .+\. Bring it back from a copy, or save it again\.", lines[1])
    assert "1 whole, 1 damaged" == lines[2]


@pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
def test_a_file_of_others_is_said_to_have_no_checksum(tmp_path, call, suffix):
    """What another program wrote is whole as far as can be told, and that is said."""
    path = tmp_path / f"net{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["weight"] = np.ones(3)
    else:
        from safetensors.torch import save_file

        save_file({"weight": torch.ones(3)}, path)

    code, lines = call("verify", path)

    assert 0 == code
    assert "it carries no checksum of its content" in lines[0]


def test_a_pt_of_others(tmp_path, call, flip):
    """In a state dict saved by torch itself the checksums of the archive are checked, and what it lacks is said."""
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.ones(300)}, path)
    before = call("verify", path)
    flip(path, path.read_bytes().index(torch.ones(300).numpy().tobytes()) + 77)

    assert (0, [f"whole  {path}  checkpoint, .pt; not written by jalon: it carries no checksum of its content"]) == before
    assert 1 == call("verify", path)[0]


def test_no_code_is_run(tmp_path, call):
    """A file that asks for code to be run is damaged goods, and the code is not run."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")

    code, lines = call("verify", tmp_path)

    assert 1 == code
    assert lines[0].startswith(f"damaged  {tmp_path}/evil.pt  cannot be read")
    assert not (tmp_path / "canary").exists()


def test_a_temporary_file_is_not_finished(tmp_path, call):
    """What a killed save has left under its temporary name is told, and nothing is wrong."""
    save(tmp_path / "net.pt")
    (tmp_path / ".net.pt.tmp-4711-0").write_bytes(b"half")

    code, lines = call("verify", tmp_path)

    assert 0 == code
    assert lines[0].startswith(f"not finished  {tmp_path}/.net.pt.tmp-4711-0  is net.pt as process 4711 was writing it")


def test_what_cannot_be_read_here_is_not_checked(tmp_path, call, monkeypatch):
    """A file whose reader is not installed is not said to be whole, and the command that installs it is named."""
    path = save(tmp_path / "net.pt")
    monkeypatch.setitem(sys.modules, "torch", None)

    code, lines = call("verify", path)

    assert 1 == code
    assert lines[0].startswith(f"not checked  {path}  Reading {path} needs 'torch'")
    assert "pip install 'jalon[torch]'" in lines[0]


def test_a_bomb_is_not_unpacked(tmp_path, call):
    """An archive that would unpack to far more than there is of it is refused before it is unpacked."""
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("config.json", bytes(50_000_000))

    code, lines = call("verify", path)

    assert 1 == code
    assert "would unpack to 50,000,000 bytes" in lines[0]


def test_a_file_that_ends_its_reader(tmp_path):
    """Where a library crashes on a file, the file is damaged and the next one is read all the same."""
    path = tmp_path / "net.h5"
    path.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    crashed = apart.read_apart(runpy.run_path, path)

    assert ("damaged", "is damaged: reading it ends the process that does") == (crashed.state, crashed.reason)
    assert path == apart.read_apart(Path.absolute, path)


def test_a_file_that_holds_its_reader(tmp_path, monkeypatch):
    """Where a library never comes back from a file, the file is damaged and the next one is read all the same."""
    path = tmp_path / "net.h5"
    path.write_text("while True: pass")
    assert path == apart.read_apart(Path.absolute, path)  # the reader is there before time counts
    monkeypatch.setattr(apart, "_SECONDS", 0.2)

    held = apart.read_apart(runpy.run_path, path)

    assert ("damaged", "is damaged: reading it does not come to an end") == (held.state, held.reason)


# ---- runs and backups ------------------------------------------------------------------------------------------------


def test_a_run_is_whole(run, call):
    """Of a run's folder, everything in it is verified: files, snapshots, history, tables and event files."""
    code, lines = call("verify", run)
    names = [Path(line.split("  ")[1]).relative_to(run).as_posix() for line in lines[:-1]]

    assert 0 == code
    assert ["whole"] * 8 == [line.split()[0] for line in lines[:-1]]
    assert ["backup/00000002", "backup/00000003", "backup/run.json", "backup/history.jsonl", "best.safetensors"] == names[:5]
    assert [True, True, False] == [".tfevents." in name for name in names[5:]]
    assert "training.log" == names[-1]


def test_nothing_is_changed(run, call):
    """Nothing on the disk is changed by verifying and inspecting, damaged or not."""
    (run / "backup" / "00000009").mkdir()
    zeroed(run / "best.safetensors", 50)
    before = tree(run)

    call("verify", run)
    call("inspect", run)

    assert before == tree(run)


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "manifest.json"])
def test_a_damaged_snapshot(run, call, name):
    """The damaged file of a snapshot is named, and the snapshot that a resume goes on from is the one that fit takes."""
    zeroed(run / "backup" / "00000003" / name, 20)

    code, lines = call("verify", run / "backup")

    assert 1 == code
    assert lines[0] == f"whole    {run}/backup/00000002  snapshot; a resume goes on from here"
    assert lines[1].startswith(f"damaged  {run}/backup/00000003  {name} is damaged: it does not have its checksum. ")
    chosen = next(one for one in Snapshots(run / "backup").newest_first() if isinstance(one, Snapshot))
    assert run / "backup" / "00000002" == chosen.path


def test_a_finished_run(tmp_path, call, train):
    """The snapshot of a finished training says so."""
    train(tmp_path, epochs=1)

    _, lines = call("verify", tmp_path / "backup")

    assert 1 == sum(line.endswith("snapshot; a resume finds the training finished") for line in lines)


def test_an_unfinished_snapshot_is_no_damage(run, call):
    """A snapshot that was never finished does not exist for a resume, and nothing is wrong where a whole one is there."""
    (run / "backup" / "00000004").mkdir()
    save(run / "backup" / "00000004" / "model.safetensors")

    code, lines = call("verify", run / "backup")

    assert 0 == code
    assert lines[2].startswith(f"not finished  {run}/backup/00000004  is not finished: it does not exist for a resume.")
    assert "a resume goes on from here" in lines[1]


def test_a_backup_without_a_whole_snapshot(run, call):
    """A backup from which nothing can go on is damaged, whatever else is in it."""
    for manifest in (run / "backup").glob("*/manifest.json"):
        manifest.unlink()

    code, lines = call("verify", run / "backup")

    assert 1 == code
    assert lines[0].endswith("backup  has no whole snapshot to go on from. The next start trains from the beginning.")


def test_a_snapshot_by_itself(run, call):
    """A snapshot's own folder can be named too."""
    code, lines = call("verify", run / "backup" / "00000003")

    assert (0, [f"whole  {run}/backup/00000003  snapshot"]) == (code, lines)


def test_a_history_that_lacks_rows(run, call):
    """A history is damaged where rows are missing that the snapshot counts on; what follows them does not count."""
    history = run / "backup" / "history.jsonl"
    rows = history.read_bytes()
    history.write_bytes(rows + b'{"epoch": 2, "lo')
    torn_after = call("verify", run / "backup")
    history.write_bytes(rows.splitlines(keepends=True)[0])
    short = call("verify", run / "backup")

    assert 0 == torn_after[0]
    assert 1 == short[0]
    assert "lacks 1 of the rows that 00000003 counts on" in short[1][3]


def test_fit_goes_on_from_what_verify_names(run, call, train):
    """fit says the same of a damaged backup as verify, and goes on from the snapshot that verify names."""
    zeroed(run / "backup" / "00000003" / "model.safetensors", 20)
    _, lines = call("verify", run / "backup")

    with pytest.warns(JalonWarning, match=r"00000003/model\.safetensors is damaged.*from the backup before it, with epoch 2"):
        train(run, epochs=2)

    assert lines[0].endswith("00000002  snapshot; a resume goes on from here")


# ---- logs ------------------------------------------------------------------------------------------------------------


def test_event_files(run, call, flip):
    """Of an event file every record's checksum is checked, and how many come before the damage is told."""
    path = next((run / "logs" / "train").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    torn = call("verify", path)
    path.write_bytes(content)
    flip(path, -20)
    changed = call("verify", path)

    assert (1, 1) == (torn[0], changed[0])
    assert re.search(r"ends within a record, after \d+ whole ones\. Readers show the \d+ before it\.", torn[1][0])
    assert re.search(r"the record at byte [\d,]+ does not have its checksum, after \d+ whole ones", changed[1][0])


def test_tables(run, call):
    """A table of CSVLogger's is damaged where it ends within a row, and where a row has too many values."""
    path = run / "training.log"
    rows = path.read_text()
    path.write_text(rows + "2,0.9")
    torn = call("verify", path)
    path.write_text(rows + "2,0.9\n")
    uneven = call("verify", path)

    assert (1, 1) == (torn[0], uneven[0])
    assert "ends within a row, after 2 whole ones" in torn[1][0]
    assert "row 3 has 2 values and the first line" in uneven[1][0]


def test_other_files_are_passed_over(tmp_path, call):
    """What jalon does not write is passed over, as are hidden folders and links to folders."""
    save(tmp_path / "net.pt")
    (tmp_path / "notes.txt").write_text("epochal")
    (tmp_path / "data.csv").write_text("a,b\n1\n")
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "net.pt")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert (0, [f"whole  {tmp_path}/net.pt  checkpoint, .pt"]) == call("verify", tmp_path)


# ---- Orbax -----------------------------------------------------------------------------------------------------------


def test_saves_of_orbax(tmp_path, call):
    """Saves of Orbax's are read by Orbax, which has checksums of its own; one without its data is damaged."""
    data = digits(seed=0)
    model = jalon.Model(network(seed=0)).compile("sgd", "cross_entropy")
    saver = jalon.callbacks.OrbaxCheckpoint(tmp_path / "saves", monitor="loss", max_to_keep=2)
    model.fit(data.x_train[:64], data.y_train[:64], epochs=2, verbose=0, callbacks=[saver])
    whole = call("verify", tmp_path)
    (tmp_path / "saves" / "7.orbax-checkpoint-tmp").mkdir()
    largest = max(
        (path for path in (tmp_path / "saves" / "1").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    zeroed(largest, 500)
    damaged = call("verify", tmp_path)

    assert (0, ["whole"] * 2) == (whole[0], [line.split()[0] for line in whole[1][:-1]])
    assert "Orbax save; checked as far as Orbax's own checksums go" in whole[1][0]
    assert 1 == damaged[0]
    assert ["whole", "damaged", "not"] == [line.split()[0] for line in damaged[1][:-1]]
    assert "is damaged in weights.0.weight (" in damaged[1][1]


# ---- how it is said --------------------------------------------------------------------------------------------------


def test_exit_codes(tmp_path, command):
    """0 where all is whole, 1 where something is damaged, 2 where the command line is wrong; refusals are one line."""
    (tmp_path / "whole.csv").write_text("epoch,loss\n0,1\n")
    (tmp_path / "torn.csv").write_text("epoch,loss\n0,1")
    ended = [
        command("verify", *arguments)
        for arguments in ([tmp_path / "whole.csv"], [tmp_path], [tmp_path / "gone"], [], ["--jsn", tmp_path])
    ]

    assert [0, 1, 2, 2, 2] == [one.returncode for one in ended]
    assert ["", ""] == [one.stderr for one in ended[:2]]
    assert f"jalon verify: {tmp_path / 'gone'} is not there.\n" == ended[2].stderr
    assert 1 == len(ended[3].stderr.splitlines())
    assert not any(one.stdout for one in ended[2:])


def test_a_folder_of_something_else(tmp_path, call):
    """Where there is nothing to verify, that is an error, not a success."""
    (tmp_path / "notes.txt").write_text("nothing")

    with pytest.raises(ArgumentError, match="holds nothing that jalon writes"):
        call("verify", tmp_path)
    with pytest.raises(ArgumentError, match="is nothing that jalon writes"):
        call("verify", tmp_path / "notes.txt")


def test_json(tmp_path, command):
    """With --json, the same stands in one JSON object."""
    (tmp_path / "a.csv").write_text("epoch,loss\n0,1\n")
    (tmp_path / "b.csv").write_text("epoch,loss\n0,1")

    said = json.loads(command("verify", tmp_path, "--json").stdout)

    assert not said["whole"]
    assert [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")] == [item["path"] for item in said["items"]]
    assert ["whole", "damaged"] == [item["state"] for item in said["items"]]
    assert {"path", "kind", "state", "reason", "remedy", "note", "resumes"} == said["items"][0].keys()


def test_piped_lines_are_plain(tmp_path, command):
    """Where the output is no terminal, a file has one line without escape codes, however narrow a terminal would be."""
    path = tmp_path / ("a-long-name-that-does-not-fit" * 3 + ".csv")
    path.write_text("epoch,loss\n0,1\n")

    ended = command("verify", tmp_path, COLUMNS="30")

    assert [f"whole  {path}  table of epochs; it carries no checksum"] == ended.stdout.splitlines()


def test_a_narrow_terminal(tmp_path, command):
    """On a terminal, long lines are folded to its width, and nothing of them is lost."""
    path = tmp_path / ("long-name" * 8 + ".csv")
    path.write_text("epoch,loss\n0,1\n")

    shown = command("verify", tmp_path, FORCE_COLOR="1", COLUMNS="40").stdout
    text = re.sub(r"\x1b\[[\d;]*m", "", shown)

    assert shown != text
    assert max(map(len, text.splitlines())) <= 40
    assert str(path) in re.sub(r"\s+", "", text)


def test_names_cannot_speak_to_the_terminal(tmp_path, command):
    """Signs in a name that a terminal would obey are shown as their codes."""
    (tmp_path / "red\x1b[31m\nnext.csv").write_text("epoch,loss\n0,1\n")

    assert "red\\x1b[31m\\nnext.csv" in command("verify", tmp_path).stdout
