"""A loop that was interrupted and is started again ends as if nothing had happened, whatever its shape."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ReduceLROnPlateau, backup_and_restore
from jalon.errors import ArgumentError, CheckpointMismatch, StateMismatch

EPOCHS = 3
X, Y = load_digits(return_X_y=True)
ROWS = [torch.as_tensor(X[at : at + 16] / 16, dtype=torch.float32) for at in range(0, 80, 16)]
LABELS = [torch.as_tensor(Y[at : at + 16]) for at in range(0, 80, 16)]


class PowerCut(BaseException):
    """Ends a training as a kill does: nobody handles it, and nothing is written on its way."""


class Cut:
    """Counts what a training does, and cuts it off at one of those moments."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.moments = at, 0

    def __call__(self) -> None:
        self.moments += 1
        if self.moments == self.at:
            raise PowerCut


def seed_all(seed: int) -> None:
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Any, y: Any) -> torch.Tensor:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def left(loop: jalon.Loop, *parts: Any) -> list[Any]:
    """Return what is to be the same: weights, optimizers, history, random numbers, counters."""
    states = [part.state_dict() for part in parts]
    drawn = [torch.rand(2).tolist(), random.random(), np.random.random()]
    return [repr(states), loop.history.history, drawn, loop.run.step, loop.run.stop_reason]


# ---- shapes of loops ---------------------------------------------------------------------------------------------------------


def usual(cut: Cut, **how: Any) -> list[Any]:
    """Shuffles by Python's numbers in the body, and validates twice."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    batches = list(zip(ROWS, LABELS, strict=True))
    loop = jalon.Loop(model=net, optimizer=optimizer, epochs=EPOCHS, state={"scheduler": scheduler}, verbose=0, **how)
    for _ in loop:
        order = random.sample(batches, len(batches))
        for x, y in loop.batches(order):
            loop.log(loss=step(net, optimizer, x, y))
            cut()
        for name, rows in (("first", ROWS[:2]), ("second", ROWS[2:4])):
            with loop.validation():
                for x in loop.batches(rows):
                    loop.log(**{name: net(x).sum() + torch.rand(())})
                    cut()
        scheduler.step()
        cut()
    return left(loop, net, optimizer, scheduler)


def two_passes(cut: Cut, **how: Any) -> list[Any]:
    """Trains two networks by turns, on noise and on rows, as adversarial training does."""
    nets = {"maker": nn.Linear(8, 64), "judge": nn.Linear(64, 1)}
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=0.01) for name, net in nets.items()}
    draw = np.random.default_rng(random.randrange(1000))
    loop = jalon.Loop(model=nets, optimizer=optimizers, epochs=EPOCHS, state={"draw": draw}, verbose=0, **how)
    for _ in loop:
        for x in loop.batches(ROWS):
            made = nets["maker"](torch.as_tensor(draw.normal(size=(16, 8)), dtype=torch.float32))
            loss = nets["judge"](made).mean() - nets["judge"](x).mean()
            optimizers["judge"].zero_grad()
            loss.backward()
            optimizers["judge"].step()
            loop.log(judge=loss)
            cut()
        for _ in loop.batches(range(3)):
            loss = -nets["judge"](nets["maker"](torch.randn(16, 8))).mean()
            optimizers["maker"].zero_grad()
            loss.backward()
            optimizers["maker"].step()
            loop.log(maker=loss)
            cut()
    return left(loop, *nets.values(), *optimizers.values())


def counted_steps(cut: Cut, **how: Any) -> list[Any]:
    """Counts steps, and keeps what it has seen beside the network."""

    class Replay:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def state_dict(self) -> dict[str, Any]:
            return {"seen": list(self.seen), "as": (np.float32(1), torch.ones(2))}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert (1, torch.Size([2])) == (state["as"][0], state["as"][1].shape)
            self.seen = list(state["seen"])

    net, replay = network(), Replay()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loop = jalon.Loop(model=net, optimizer=optimizer, state={"replay": replay}, verbose=0, **how)
    for number in loop.steps(13, per_epoch=5):
        replay.seen.append(float(torch.rand(())))
        loop.log(loss=step(net, optimizer, ROWS[number % 5], LABELS[number % 5]), seen=sum(replay.seen))
        cut()
    return [*left(loop, net, optimizer), replay.seen]


def endless(cut: Cut, **how: Any) -> list[Any]:
    """Reads a generator that has no end, and validates in the middle of an epoch."""

    def drawn() -> Iterator[Any]:
        for at in cycle(range(5)):
            yield ROWS[at], LABELS[at]

    net, data = network(), drawn()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loop = jalon.Loop(model=net, optimizer=optimizer, epochs=EPOCHS, verbose=0, **how)
    for _ in loop:
        for x, y in loop.batches(data, 3):
            loop.log(loss=step(net, optimizer, x, y))
            cut()
        with loop.validation():
            loop.log(loss=net(ROWS[0]).mean())
        cut()
        for x, y in loop.batches(data, 4):
            loop.log(loss=step(net, optimizer, x, y))
            cut()
    return left(loop, net, optimizer)


SHAPES = {shape.__name__: shape for shape in (usual, two_passes, counted_steps, endless)}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(BackupAndRestore, "rest_seconds", 0.0)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # where the epoch's steps were all done before
@pytest.mark.parametrize("save_freq", [1, 2, "epoch"])
@pytest.mark.parametrize("shape", SHAPES)
def test_cut_off_at_every_moment_it_ends_the_same(shape, save_freq, tmp_path):
    """Weights, optimizers, random numbers, history, counters: as of the training that nothing interrupted."""
    seed_all(1)
    whole = Cut()
    expected = SHAPES[shape](whole)

    assert whole.moments > 10
    for at in range(1, whole.moments + 1):
        backup = partial(BackupAndRestore, tmp_path / str(at), save_freq, delete_checkpoint=False)
        seed_all(1)
        with pytest.raises(PowerCut):
            SHAPES[shape](Cut(at), callbacks=[backup()])
        seed_all(2)  # as of a program that seeds nothing
        assert expected == SHAPES[shape](Cut(), callbacks=[backup()]), f"cut off at moment {at}"


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_cut_off_again_and_again(tmp_path):
    """Each start goes on a little, and the last one ends as the training that nothing interrupted."""
    seed_all(1)
    expected = usual(Cut())
    backup = partial(BackupAndRestore, tmp_path, 1, delete_checkpoint=False)
    done, starts = None, 0
    while done is None:
        seed_all(1 if starts == 0 else 2)
        starts += 1
        try:
            done = usual(Cut(7), callbacks=[backup()])
        except PowerCut:
            assert starts < 40

    assert starts > 3
    assert expected == done


# ---- one start after another -------------------------------------------------------------------------------------------------


def plain(
    folder: Any, epochs: int = 2, net: nn.Module | None = None, state: Any = None, **how: Any
) -> tuple[jalon.Loop, list[int]]:
    """Train the usual way in a run's folder, as a program of its own, and return the loop and the epochs whose body ran."""
    backup_and_restore._fits.clear()
    net = network() if net is None else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loop = jalon.Loop(model=net, optimizer=optimizer, epochs=epochs, run_dir=folder, state=state, **{"verbose": 0, **how})
    bodies = []
    for epoch in loop:
        bodies.append(epoch)
        for x, y in loop.batches(zip(ROWS, LABELS, strict=True)):
            loop.log(loss=step(net, optimizer, x, y))
    return loop, bodies


def test_a_finished_run_says_so_and_has_its_history(tmp_path, capsys):
    """The body does not run again."""
    first, _ = plain(tmp_path)
    capsys.readouterr()
    again, bodies = plain(tmp_path, verbose=2)

    assert [] == bodies
    assert first.history.history == again.history.history
    assert "finished" in capsys.readouterr().out


def test_more_epochs_go_on_from_there(tmp_path):
    """The history is of all of them."""
    plain(tmp_path)
    loop, bodies = plain(tmp_path, epochs=4)

    assert [2, 3] == bodies
    assert 4 == len(loop.history.history["loss"])
    assert [0, 1, 2, 3] == loop.history.epoch


def test_another_model_is_refused_by_what_changed(tmp_path):
    """Before anything of the run is touched."""
    plain(tmp_path)
    other = nn.Sequential(nn.Linear(64, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 10))
    with pytest.raises(CheckpointMismatch, match=r"(?s)8.*9"):
        plain(tmp_path, epochs=4, net=other)
    assert [] == plain(tmp_path)[1]


def test_other_names_in_state_are_refused(tmp_path):
    """They are named."""
    plain(tmp_path)
    with pytest.raises(CheckpointMismatch, match="draw"):
        plain(tmp_path, epochs=4, state={"draw": np.random.default_rng()})


def test_what_cannot_be_kept_is_refused_by_name(tmp_path):
    """In the constructor, or when it is first kept."""

    class Held:
        def state_dict(self):
            return {"file": sys.stdout}

        def load_state_dict(self, state): ...

    with pytest.raises(ArgumentError, match=r"state\['net'\] must have state_dict"):
        jalon.Loop(state={"net": object()})
    with pytest.raises(ArgumentError, match=r"Held|held.file"):
        plain(tmp_path, state={"held": Held()})


def test_what_does_not_take_its_state_back_is_named(tmp_path):
    """With its name in ``state``."""

    class Forgets:
        def __init__(self, wants):
            self.wants = wants

        def state_dict(self):
            return {"a": 1}

        def load_state_dict(self, state):
            state[self.wants]

    plain(tmp_path, state={"one": Forgets("a")})
    with pytest.raises(StateMismatch, match=r"state\['one'\]"):
        plain(tmp_path, epochs=4, state={"one": Forgets("b")})


def test_left_by_break_it_is_finished(tmp_path):
    """As after a stop: the same command says so, and does not go on."""
    optimizer = torch.optim.SGD((net := network()).parameters(), lr=0.1)

    def start() -> list[int]:
        backup_and_restore._fits.clear()
        loop, bodies = jalon.Loop(model=net, optimizer=optimizer, epochs=4, run_dir=tmp_path, verbose=0), []
        for epoch in loop:
            bodies.append(epoch)
            if epoch == 1:
                break
        return bodies

    assert [0, 1] == start()
    assert [] == start()


def test_patience_and_rates_go_on(tmp_path):
    """Callbacks decide as in the training that nothing interrupted."""

    def start(folder: Any, at: int | None = None) -> list[Any]:
        backup_and_restore._fits.clear()
        net, curve = network(), [3.0, 2.0, 2.5, 2.4, 2.3, 2.2]
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        callbacks = [
            EarlyStopping("val_loss", patience=4, restore_best_weights=True),
            ReduceLROnPlateau("val_loss", patience=2, factor=0.5),
            CSVLogger(folder / "log.csv", append=True),
        ]
        loop = jalon.Loop(callbacks, model=net, optimizer=optimizer, epochs=20, run_dir=folder / "run", verbose=0)
        for epoch in loop:
            for x in loop.batches(ROWS):
                loop.log(loss=x.mean())
            if epoch == at:
                raise PowerCut
            loop.log(val_loss=curve[epoch])
        return [loop.history.history, loop.run.stop_reason, (folder / "log.csv").read_text()]

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    expected = start(tmp_path / "whole")
    for at in (1, 3, 5):
        with pytest.raises(PowerCut):
            start(tmp_path / "cut", at)

    assert "no improvement in val_loss for 4 epochs" == expected[1]
    assert [0.1, 0.05] == sorted({*expected[0]["learning_rate"]}, reverse=True)[:2]
    assert expected == start(tmp_path / "cut")


def test_sigterm_and_the_same_command_again(tmp_path):
    """Told to end in the middle of an epoch it leaves after the batch, and goes on with the next one."""
    program = textwrap.dedent(f"""
        import os, signal, sys, jalon
        loop = jalon.Loop(epochs=2, verbose=0, run_dir={str(tmp_path / "run")!r})
        for epoch in loop:
            for batch in loop.batches(range(4)):
                loop.log(loss=batch)
                print(epoch, batch, flush=True)
                if (epoch, batch) == (1, 1) and "ends" in sys.argv:
                    os.kill(os.getpid(), signal.SIGTERM)
        print(loop.history.history)
    """)
    run: Callable[..., Any] = partial(subprocess.run, capture_output=True, text=True, check=False)
    first, second = run([sys.executable, "-c", program, "ends"]), run([sys.executable, "-c", program])

    assert 143 == first.returncode, first.stderr
    assert "1 1" == first.stdout.splitlines()[-1]
    assert 0 == second.returncode, second.stderr
    told = [line for line in second.stdout.splitlines() if line[:1].isdigit()]
    assert ["1 2", "1 3"] == told
    assert "{'loss': [1.5, 1.5]}" == second.stdout.splitlines()[-1]
