"""``jalon demo``: train a small network with the seven callbacks of the tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from jalon._optional import require
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard
from jalon.core.callback import Callback, Logs

if TYPE_CHECKING:
    from jalon.callbacks import History

SEED = 0


class Milestones(Callback):
    """Note the epoch in which the validation accuracy first reached each of some shares.

    Args:
        shares: What to look out for, from 0 to 1.
    """

    critical = False

    def __init__(self, *shares: float) -> None:
        self.shares = shares
        self.reached: dict[float, int] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare the epoch's accuracy with what is still to be reached."""
        accuracy = (logs or {})["val_accuracy"]
        for share in self.shares:
            if accuracy >= share:
                self.reached.setdefault(share, epoch)

    def __str__(self) -> str:
        return ", ".join(f"{share:.0%} in epoch {epoch + 1}" for share, epoch in self.reached.items()) or "none of them"


def demo(*, epochs: Annotated[int, Parameter(validator=Number(gte=1))] = 50, folder: Path = Path("demo-run")) -> None:
    """Train a small network on handwritten digits with the seven callbacks of the tutorial.

    Args:
        epochs: The most epochs to train for; it ends before where validation stops improving.
        folder: Where the files go.
    """
    for package in ("torch", "sklearn"):
        require(package, extra="demo", who="jalon demo")
    from jalon.engines.torch.demo import digits, network, use_one_thread
    from jalon.engines.torch.model import Model

    use_one_thread()
    data = digits(seed=SEED)
    model = Model(network(seed=SEED)).compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 0.005  # fast enough to need a reduction on the way
    kept, milestones = folder / "model.safetensors", Milestones(0.90, 0.95, 0.97)
    history = model.fit(
        data.x_train,
        data.y_train,
        epochs=epochs,
        validation_data=(data.x_val, data.y_val),
        seed=SEED,
        callbacks=[
            ModelCheckpoint(kept, save_best_only=True),
            ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=3, min_lr=1e-5),
            EarlyStopping(monitor="val_loss", patience=6),
            CSVLogger(folder / "training.csv"),
            ProgbarLogger(),
            TensorBoard(folder / "logs"),
            milestones,
        ],
    )

    fresh = Model.from_checkpoint(kept, network(seed=SEED + 1))
    read_back = (fresh.predict(data.x_val, verbose=0).argmax(axis=1) == data.y_val).mean()
    Console().print(summary(history, epochs=epochs, read_back=float(read_back), milestones=milestones, folder=folder))


def summary(history: History, *, epochs: int, read_back: float, milestones: Milestones, folder: Path) -> Table:
    """Return what each callback did, as a table.

    Args:
        history: What ``fit`` returned.
        epochs: How many epochs there were to be.
        read_back: The accuracy of a fresh network with the weights of the kept file, from 0 to 1.
        milestones: What was reached, and when.
        folder: Where the files are.
    """
    best, rates = history.bests["val_loss"], history.history["learning_rate"]
    measured = history.history["val_accuracy"][history.epoch.index(best.epoch)]
    agrees = "the same" if abs(measured - read_back) < 1e-6 else f"but {measured:.2%} was measured in training"
    ended = history.stop_reason or "it was still improving"
    table = Table(title="What the callbacks did", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("ModelCheckpoint", f"kept epoch {best.epoch + 1}: val_loss {best.value:.4f}, accuracy {measured:.2%}")
    table.add_row("", f"{best.path}, read back into a fresh network: accuracy {read_back:.2%}, {agrees}")
    table.add_row("ReduceLROnPlateau", f"the learning rate went from {rates[0]:.2g} to {rates[-1]:.2g}")
    table.add_row("EarlyStopping", f"epoch {history.epoch[-1] + 1} of {epochs}: {ended}")
    table.add_row("CSVLogger", f"{folder / 'training.csv'}, a row per epoch; any spreadsheet opens it")
    table.add_row("TensorBoard", f"tensorboard --logdir {folder / 'logs'}")
    table.add_row("Milestones", f"a callback of one's own; validation accuracy reached {milestones}")
    return table
