"""XGBoostBridge: what stands for callbacks of jalon's in XGBoost's list."""

from __future__ import annotations

import copy
import sys
from types import FrameType
from typing import Any

from xgboost.callback import CallbackContainer, TrainingCallback

from jalon.bridges.xgboost_bridge.conductor import Conductor
from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.errors import NotReady


def xgboost(callbacks: Any = None) -> XGBoostBridge:
    """Return a callback for XGBoost's ``train``, ``cv`` and scikit-learn classes that tells callbacks of jalon's.

    A round of boosting is an epoch; it has no batches. The metrics of the training set keep their names, those of the last
    other set in ``evals`` begin with ``val_``, and the first metric of which less is better is told as ``loss`` and
    ``val_loss`` besides.

    Args:
        callbacks: One callback or a list.

    Raises:
        ArgumentError: Something in the list is not a callback.

    Example::

        xgboost.train(params, data, 500, evals=[(data, "train"), (valid, "valid")],
                      callbacks=[jalon.bridges.xgboost([EarlyStopping(patience=5, restore_best_weights=True)])])
    """
    return XGBoostBridge(callbacks)


class XGBoostBridge(TrainingCallback):  # type: ignore[misc,unused-ignore]
    """Is a callback of XGBoost's kind that tells callbacks of jalon's.

    Args:
        callbacks: One callback or a list that may hold lists.
    """

    def __init__(self, callbacks: Any = None) -> None:
        super().__init__()
        self._given = CallbackList(callbacks)
        self._conductor: Conductor | None = None

    @property
    def history(self) -> History:
        """What the last training reported, why it stopped, and its best values.

        Raises:
            NotReady: None has begun.
        """
        if self._conductor is None or self._conductor.rounds is None:
            raise NotReady("This bridge has conducted no training yet. Pass it to xgboost.train(callbacks=[...]).")
        return self._conductor.rounds.history

    def before_training(self, model: Any) -> Any:
        """Take over XGBoost's list for the training that begins."""
        container, call = _list_and_call()
        self._conductor = Conductor(CallbackList(self._given), self, container, call)
        return model

    def __deepcopy__(self, memo: Any) -> XGBoostBridge:
        """Return a bridge to copies of the callbacks, as scikit-learn asks for where it clones an estimator."""
        return XGBoostBridge(copy.deepcopy(list(self._given), memo))


def _list_and_call() -> tuple[CallbackContainer, FrameType]:
    """Return XGBoost's list of callbacks, and the frame of ``train`` or ``cv``, which alone knows how many rounds there are."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        container = frame.f_locals.get("self")
        if isinstance(container, CallbackContainer):
            return container, frame.f_back
        frame = frame.f_back
    raise NotReady("jalon.bridges.xgboost(...) belongs into the callbacks of xgboost.train, xgboost.cv or an XGBModel.")
