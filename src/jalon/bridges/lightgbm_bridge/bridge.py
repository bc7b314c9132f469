"""LightGBMBridge: what stands for callbacks of jalon's in LightGBM's list."""

from __future__ import annotations

import copy
import sys
from typing import Any

from lightgbm.callback import CallbackEnv

from jalon.bridges.boosting.metric_names import NAMES_OF_TRAINING
from jalon.bridges.lightgbm_bridge.conductor import Conductor
from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.errors import ArgumentError, NotReady


def lightgbm(callbacks: Any = None) -> LightGBMBridge:
    """Return a callback for LightGBM's ``train``, ``cv`` and scikit-learn classes that tells callbacks of jalon's.

    A round of boosting is an epoch; it has no batches. The metrics of the training set keep their names, those of the last
    other set in ``valid_sets`` begin with ``val_``, and the first metric of which less is better is told as ``loss`` and
    ``val_loss`` besides.

    Args:
        callbacks: One callback or a list.

    Raises:
        ArgumentError: Something in the list is not a callback.

    Example::

        lightgbm.train(params, data, 500, valid_sets=[data, valid],
                       callbacks=[jalon.bridges.lightgbm([EarlyStopping(patience=5, restore_best_weights=True)])])
    """
    return LightGBMBridge(callbacks)


class LightGBMBridge:
    """Is a callback of LightGBM's kind that tells callbacks of jalon's.

    Args:
        callbacks: One callback or a list that may hold lists.
    """

    before_iteration = True

    def __init__(self, callbacks: Any = None) -> None:
        self.order = -sys.maxsize  # in the instance, where LightGBM looks for it: first, to take over from the others
        self._given = CallbackList(callbacks)
        self._conductor: Conductor | None = None

    @property
    def history(self) -> History:
        """What the last training reported, why it stopped, and its best values.

        Raises:
            NotReady: None has begun.
        """
        if self._conductor is None:
            raise NotReady("This bridge has conducted no training yet. Pass it to lightgbm.train(callbacks=[...]).")
        return self._conductor.rounds.history

    def __call__(self, env: CallbackEnv) -> None:
        """Take over LightGBM's lists for the training that begins."""
        before, after, validates = self._lists()
        others = [one for one in before if one is not self]
        if any(isinstance(one, LightGBMBridge) for one in others):
            raise ArgumentError("callbacks: there are two bridges of jalon's. Give one the callbacks of both, as a list.")
        conductor = self._conductor = Conductor(CallbackList(self._given), others, after, env, validates=validates)
        before[:], after[:] = [conductor.before_round], [conductor.after_round]
        conductor.begin(env)
        conductor.before_round(env)

    def __deepcopy__(self, memo: Any) -> LightGBMBridge:
        """Return a bridge to copies of the callbacks, as scikit-learn asks for where it clones an estimator."""
        return LightGBMBridge(copy.deepcopy(list(self._given), memo))

    def _lists(self) -> tuple[list[Any], list[Any], bool]:
        """Return LightGBM's own lists, which it hands to nobody, and whether it validates."""
        found = sys._getframe(2).f_locals
        before, after = found.get("callbacks_before_iter"), found.get("callbacks_after_iter")
        if not isinstance(before, list) or not isinstance(after, list):
            raise NotReady("This version of LightGBM trains in a way that jalon does not know. Known is lightgbm 4.7.")
        names = ["valid"] if "cvbooster" in found else found.get("name_valid_sets", [])
        return before, after, any(name not in NAMES_OF_TRAINING for name in names)
