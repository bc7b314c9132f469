"""LightGBMAdapter: answers callbacks on behalf of a booster of LightGBM, or of the boosters of its ``cv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm
from lightgbm.basic import _ConfigAliases  # which names a parameter has

from jalon.bridges.boosting.adapter import BoosterAdapter
from jalon.bridges.boosting.metric_names import MetricNames
from jalon.bridges.lightgbm_bridge import resuming
from jalon.errors import CheckpointError, NotReady

_RATE_NAMES = ("learning_rate", *sorted(_ConfigAliases.get("learning_rate") - {"learning_rate"}))
_DEFAULT_RATE = 0.1


class LightGBMAdapter(BoosterAdapter):
    """Answers callbacks on behalf of a booster of LightGBM.

    Args:
        booster: The booster, or what stands for the boosters of ``cv``.
        names: What its metrics are called.
        validates: Whether a set beside the training set is evaluated.
        params: The parameters that ``train`` shows to callbacks.
        strangers: Callbacks beside jalon's whose state nobody keeps.
    """

    library = "LightGBM"
    going_on_by = "init_model="

    def __init__(
        self,
        booster: Any,
        *,
        names: MetricNames | None = None,
        validates: bool = True,
        params: dict[str, Any] | None = None,
        strangers: Sequence[str] = (),
    ) -> None:
        super().__init__(booster, names=names, validates=validates)
        self._params = {} if params is None else params
        self._strangers = strangers
        self._only_grows: bool | None = None
        self._irremovable = 0 if self.is_cross_validation else self.iterations
        self.is_training = True
        """Whether rounds follow."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".txt",)

    @property
    def _boosters(self) -> list[lightgbm.Booster]:
        return list(self.booster.boosters) if self.is_cross_validation else [self.booster]

    @property
    def iterations(self) -> int:
        return int(self._boosters[0].current_iteration())

    @property
    def is_cross_validation(self) -> bool:
        return isinstance(self.booster, lightgbm.CVBooster)

    @property
    def only_grows(self) -> bool:
        """Whether it is no ``dart``, which weighs earlier trees anew."""
        if self._only_grows is None:
            self._only_grows = resuming.settings(self._boosters[0])["boosting"] != "dart"
        return self._only_grows

    # ---- the learning rate -----------------------------------------------------------------------------------------------

    def learning_rates(self) -> list[float]:
        params = self._boosters[0].params
        return [float(next((params[name] for name in _RATE_NAMES if params.get(name) is not None), _DEFAULT_RATE))]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        change = {"learning_rate": float(rates[0])}
        for booster in self._boosters:
            booster.reset_parameter(change)
        self._params.update(change)

    # ---- the model as bytes ------------------------------------------------------------------------------------------------

    def model_bytes(self, suffix: str) -> bytes:
        return self.booster.model_to_string(num_iteration=-1).encode()  # type: ignore[no-any-return]

    def put_back(self, model: bytes) -> None:
        if self.is_training:
            raise NotReady(
                "LightGBM cannot exchange a booster in training: one that was read from a file knows no training data. "
                "Do it in on_train_end, or begin another training with init_model=."
            )
        try:
            self.booster.model_from_string(model.decode())
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as exc:
            raise CheckpointError(f"LightGBM cannot read the model: {exc}") from exc
        self.exchanged()

    def load(self, path: Any) -> None:
        """Take up the training that a file was written in, on the data of this one."""
        resuming.go_on_from(self.booster, self.read(path).decode(), path)
        self._irremovable = self.iterations

    def cut_back(self, rounds: int) -> None:
        if self.is_cross_validation:
            return
        if rounds < self._irremovable:  # trees that were read from a file can only be left out of a copy
            self.booster.model_from_string(self.booster.model_to_string(num_iteration=rounds))
        while self.iterations > rounds:
            self.booster.rollback_one_iter()

    # ---- going on after an interruption ----------------------------------------------------------------------------------

    def obstacles(self) -> list[str]:
        strange = [f"the state of {name} is not kept; use jalon's callback in its place" for name in self._strangers]
        return strange + resuming.obstacles(self.booster)

    def identity(self) -> dict[str, Any]:
        return resuming.identity(self.booster)
