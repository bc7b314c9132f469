"""What ``jalon demo`` trains: real digits, and a network that is small enough to train while one watches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jalon._optional import require


class Digits(NamedTuple):
    """Is a thousand and a half of handwritten digits to train on, and some kept aside.

    Args:
        x_train: Images as rows of 64 grey values from 0 to 1.
        y_train: The digit each shows.
        x_val: Images kept aside for validation.
        y_val: Their digits.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_val: NDArray[np.float32]
    y_val: NDArray[np.int64]


def digits(*, seed: int) -> Digits:
    """Return scikit-learn's digits, a fifth of them kept aside, each digit in the same proportion.

    Args:
        seed: Decides which are kept aside.
    """
    datasets = require("sklearn.datasets", extra="demo", who="jalon demo")
    selection = require("sklearn.model_selection", extra="demo", who="jalon demo")
    images, labels = datasets.load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = selection.train_test_split(
        (images / 16).astype(np.float32), labels.astype(np.int64), test_size=0.2, stratify=labels, random_state=seed
    )
    return Digits(x_train, y_train, x_val, y_val)


def use_one_thread() -> None:
    """Compute on one thread: for a network this small, several only wait for each other."""
    torch.set_num_threads(1)


def network(*, seed: int) -> torch.nn.Module:
    """Return a network of one hidden layer for the digits.

    Args:
        seed: Decides the first weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
