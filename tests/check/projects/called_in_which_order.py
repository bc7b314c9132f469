"""A metric of one's own, computed at the epoch's end by a callback that is listed last.

After Lightning-AI/pytorch-lightning#10260 and #17131. To be found: JAL602, JAL603.
"""

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping


class Correlation(jalon.Callback):
    """Adds how well predictions and targets go together."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_correlation"] = 1 / (1 + logs["val_loss"])


loop = jalon.Loop(
    [
        CSVLogger("training.log"),
        EarlyStopping("val_correlation", mode="max", patience=3, restore_best_weights=True),
        Correlation(),
    ],
    epochs=30,
)
for epoch in loop:
    with loop.validation():
        loop.log(loss=1 / (epoch + 1))
