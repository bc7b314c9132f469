"""A snapshot is there as a whole or not at all, and what is wrong with one is named."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from pathlib import Path

import pytest

from jalon.store import snapshot as snapshot_module
from jalon.store.snapshot import MANIFEST, Damaged, FileRecord, Snapshot, Snapshots, read, read_manifest, write_file

FILES = {"model.bin": b"weights" * 9, "state.bin": b"state"}


@pytest.fixture
def snapshots(tmp_path):
    return Snapshots(tmp_path / "kept")


def make(snapshots, *, files=FILES, **about):
    """Make a snapshot, and return its folder."""
    folder = snapshots.begin()
    snapshots.make(folder)
    written = {name: write_file(folder / name, content) for name, content in files.items()}
    snapshots.commit(folder, about, written=written)
    return folder


def numbers(snapshots):
    return [one.number if isinstance(one, Snapshot) else str(one) for one in snapshots.newest_first()]


def sealed(body):
    """Return a manifest that says what it should not say, with its checksum."""
    return b'{"sha256":"%s","content":' % hashlib.sha256(body).hexdigest().encode() + body + b"}"


def forge(folder, **changes):
    """Put something else into a manifest that holds true otherwise."""
    content = json.loads((folder / MANIFEST).read_bytes())["content"]
    (folder / MANIFEST).write_bytes(sealed(json.dumps(content | changes).encode()))


# ---- make and read -----------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(snapshots):
    """A snapshot says what it is of, and of each file its size and its SHA-256."""
    folder = make(snapshots, epoch=3, best=None)
    found = read(folder)

    assert {"epoch": 3, "best": None} == found.about
    assert (1, "00000001") == (found.number, folder.name)
    assert {name: FileRecord(len(data), hashlib.sha256(data).hexdigest()) for name, data in FILES.items()} == found.manifest.files
    assert sorted([*FILES, MANIFEST]) == sorted(path.name for path in folder.iterdir())


def test_files_that_others_wrote_are_read_for_their_checksum(snapshots):
    """A file that was put into the folder in another way is part of the snapshot too."""
    folder = snapshots.begin()
    snapshots.make(folder)
    (folder / "notes.txt").write_bytes(b"whole")
    made = snapshots.commit(folder, {})

    assert made == read(folder)
    assert {"notes.txt": FileRecord(5, hashlib.sha256(b"whole").hexdigest())} == made.manifest.files


def test_the_manifest_can_be_checked_without_jalon(snapshots):
    """The manifest is JSON whose checksum is that of the bytes after it."""
    data = (make(snapshots) / MANIFEST).read_bytes()
    told = json.loads(data)

    assert told["sha256"] == hashlib.sha256(data[data.index(b'"content":') + len(b'"content":') : -1]).hexdigest()


def test_without_a_manifest_it_does_not_exist(snapshots):
    """What was begun and not committed is not seen, and swept away by the next writer."""
    make(snapshots)
    begun = snapshots.begin()
    snapshots.make(begun)
    write_file(begun / "model.bin", b"half")

    assert [1] == numbers(snapshots)
    Snapshots(snapshots.root).sweep()
    assert [1] == numbers(snapshots)
    assert not begun.exists()


def test_no_folder_is_no_snapshot(snapshots):
    """A folder that is not there has no snapshots, and nothing to sweep or to clear."""
    snapshots.sweep()
    snapshots.clear()
    snapshots.keep(2)

    assert [] == numbers(snapshots)


def test_the_newest_come_first(snapshots):
    """Snapshots are numbered in order, also by the next process and when older ones are gone."""
    for epoch in range(3):
        make(snapshots, epoch=epoch)
    snapshots.keep(2)
    make(Snapshots(snapshots.root), epoch=3)

    assert [4, 3, 2] == numbers(snapshots)
    assert [3, 2, 1] == [one.about["epoch"] for one in snapshots.newest_first()]


def test_everything_is_on_the_disk_before_the_manifest_is(snapshots, monkeypatch):
    """Each file is synced before the manifest has its name, and the folders are after it."""
    calls = []
    for module, name in ((os, "fsync"), (Path, "replace")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, real=real, name=name: (calls.append((name, *args)), real(*args))[1])
    make(snapshots)

    assert ["fsync", "fsync", "fsync", "replace", "fsync", "fsync"] == [name for name, *_ in calls][-6:]


def test_an_interrupted_write_leaves_no_manifest(snapshots, monkeypatch):
    """Where the manifest cannot be written, there is no snapshot, and what is left of it can be discarded."""
    kept = make(snapshots)
    folder = snapshots.begin()
    snapshots.make(folder)
    write_file(folder / "model.bin", b"whole")
    monkeypatch.setattr(snapshot_module.atomic, "sync_folder", lambda _: (_ for _ in ()).throw(OSError("full")))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))

    with pytest.raises(OSError, match="full"):
        snapshots.commit(folder, {})
    snapshots.discard(folder)
    assert [kept.name] == [path.name for path in snapshots.root.iterdir()]


def test_a_file_is_never_written_over(snapshots):
    """A name that is taken is refused: what a snapshot holds is of one moment."""
    folder = snapshots.begin()
    snapshots.make(folder)
    write_file(folder / "model.bin", b"one")

    with pytest.raises(FileExistsError):
        write_file(folder / "model.bin", b"two")


# ---- delete --------------------------------------------------------------------------------------------------------------


def test_so_many_are_kept(snapshots):
    """The oldest go first, the manifest before the files; a process that starts anew counts those that are there."""
    for epoch in range(5):
        make(snapshots, epoch=epoch)
    Snapshots(snapshots.root).keep(3)
    assert [5, 4, 3] == numbers(snapshots)

    snapshots.keep(1)
    assert [5] == numbers(snapshots)


def test_what_is_being_written_is_not_touched(snapshots):
    """A snapshot that is not committed yet is nothing that ``keep`` deletes."""
    make(snapshots), make(snapshots)
    begun = snapshots.begin()
    snapshots.make(begun)
    snapshots.keep(1)
    write_file(begun / "model.bin", b"later")
    snapshots.commit(begun, {})

    assert [3, 2] == numbers(snapshots)


def test_what_could_not_be_discarded_is_tried_again(snapshots):
    """A folder that cannot be removed at once goes with the next ones."""
    folder = snapshots.begin()
    snapshots.make(folder)
    (folder / "in the way").mkdir()
    snapshots.discard(folder)
    (folder / "in the way").rmdir()
    make(snapshots)
    snapshots.keep(1)

    assert [2] == numbers(snapshots)
    assert not folder.exists()


def test_what_cannot_be_deleted_is_named(snapshots):
    """A snapshot that cannot be deleted is an error, and tried again the next time."""
    first, _ = make(snapshots), make(snapshots)
    (first / "in the way").mkdir()

    with pytest.raises(OSError, match="in the way"):
        snapshots.keep(1)
    (first / "in the way").rmdir()
    snapshots.keep(1)
    assert [2] == numbers(snapshots)


def test_files_of_others_stay(snapshots):
    """What has no number of eight digits is nobody's snapshot."""
    make(snapshots)
    for name in ("notes", "123", "000000012", "1234567x"):
        (snapshots.root / name).mkdir()
    (snapshots.root / "00000007").write_text("a file")
    (snapshots.root / "00000008").symlink_to(snapshots.root / "notes")
    snapshots.clear()

    left = sorted(path.name for path in snapshots.root.iterdir())
    assert ["000000012", "00000007", "00000008", "123", "1234567x", "notes"] == left


def test_a_name_that_is_taken_is_gone_round(snapshots):
    """What has the name of the next snapshot and is none keeps no snapshot from being made."""
    make(snapshots)
    (snapshots.root / "00000002").write_text("a file")

    taken = snapshots.begin()
    with pytest.raises(FileExistsError):
        snapshots.make(taken)
    assert "00000003" == make(snapshots).name
    assert "00000004" == make(Snapshots(snapshots.root)).name


# ---- damage --------------------------------------------------------------------------------------------------------------


def test_any_changed_byte_is_noticed(snapshots):
    """Whatever byte of whatever file is changed, removed or added, the snapshot is damaged and the file is named."""
    folder, seed = make(snapshots, epoch=1), random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for path in folder.iterdir():
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytes([whole[place] ^ 1 << draw.randrange(8)])
            for changed in (whole[:place], whole[:place] + flipped + whole[place + 1 :], whole[:place] + b"x" + whole[place:]):
                path.write_bytes(changed)
                with pytest.raises(Damaged, match=re.escape(path.name)):
                    read(folder)
        path.write_bytes(whole)

    assert {"epoch": 1} == read(folder).about


def test_the_one_before_a_damaged_one_is_found(snapshots):
    """A damaged snapshot is told of in its place, and those before it are there."""
    make(snapshots)
    (make(snapshots) / "model.bin").write_bytes(b"")
    newest, before = snapshots.newest_first()

    assert "model.bin is damaged: it has 0 bytes where 63 were written" in str(newest)
    assert 1 == before.number


@pytest.mark.parametrize("name", ["../model.bin", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b", MANIFEST])
def test_files_outside_the_folder_are_refused(snapshots, name):
    """A manifest whose checksum holds names files of its own folder, and nothing else."""
    folder = make(snapshots)
    forge(folder, files={name: {"size": 1, "sha256": "0" * 64}})

    with pytest.raises(Damaged, match="which is no file in its folder"):
        read_manifest(folder)


def test_links_are_refused(snapshots, tmp_path):
    """Neither a file nor the manifest may be a link, also to what would be right."""
    folder = make(snapshots)
    for name, told in (("model.bin", "is no file of its own"), (MANIFEST, "is a link")):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(Damaged, match=f"{name} {told}"):
            read(folder)
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)

    assert 1 == read(folder).number


def test_a_folder_in_place_of_a_file_is_refused(snapshots):
    """A file that is none is named, and not opened."""
    folder = make(snapshots)
    (folder / "model.bin").unlink()
    os.mkfifo(folder / "model.bin")

    with pytest.raises(Damaged, match="is no file of its own, but a link or a folder"):
        read(folder)


def test_newer_formats_are_refused(snapshots):
    """What a newer version wrote is not guessed at."""
    folder = make(snapshots)
    forge(folder, format=2)

    with pytest.raises(Damaged, match=r"was written by a newer jalon \(format 2; this one reads 1\)"):
        read(folder)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"format":1}', b'{"format":"1","files":{},"about":{}}', b"\xff", b"[" * 100_000]
)
def test_manifests_that_are_none_are_refused(snapshots, body):
    """What is no manifest is damaged, also where its checksum holds."""
    folder = make(snapshots)
    (folder / MANIFEST).write_bytes(sealed(body))

    with pytest.raises(Damaged, match="says something else than a manifest does"):
        read(folder)


def test_what_cannot_be_read_is_named(snapshots):
    """A file that is missing is named with the system's reason, and so is a manifest."""
    folder = make(snapshots)
    (folder / "state.bin").unlink()
    with pytest.raises(Damaged, match=r"state.bin cannot be read: No such file"):
        read(folder)

    (folder / MANIFEST).unlink()
    with pytest.raises(Damaged, match=r"manifest.json cannot be read: No such file"):
        read(folder)
