"""A training step of one's own: each batch is mixed with itself (mixup), the rate follows a torch scheduler.

Usage: python examples/own_train_step.py

What the step returns of a batch is averaged over the epoch; callbacks see it under the same names. Takes a few seconds.
"""

import torch
from sklearn.datasets import load_digits

import jalon
from jalon.callbacks import EarlyStopping


class Mixup(jalon.Model):
    """Trains on convex mixtures of two samples and of their targets (Zhang et al., 2017)."""

    def train_step(self, data):
        x, y = data
        share = torch.distributions.Beta(0.2, 0.2).sample()
        other = torch.randperm(len(x))
        y_pred = self(share * x + (1 - share) * x[other])
        loss = share * self.compute_loss(y=y, y_pred=y_pred) + (1 - share) * self.compute_loss(y=y[other], y_pred=y_pred)
        self.minimize(loss)
        return {"loss": loss, "share": share}


torch.manual_seed(0)
torch.set_num_threads(1)  # the network is so small that several threads only wait for each other
x, y = load_digits(return_X_y=True)
network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
model = Mixup(network).compile(
    optimizer="adam",
    loss="cross_entropy",
    metrics=["accuracy"],  # measured in validation; the step above reports its own
    scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20),
)
history = model.fit(
    x / 16, y, epochs=20, validation_split=0.2, seed=0, verbose=2, callbacks=EarlyStopping("val_loss", patience=5)
)
print(history.best)
