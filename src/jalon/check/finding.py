"""Finding and Findings: what is wrong with a list of callbacks, in words and numbers."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]

_INDENT = " " * 17


@dataclass(frozen=True, slots=True)
class Finding:
    """Is one mistake in the setup of a training.

    Args:
        code: The rule's code, as ``"JAL201"``.
        severity: ``"error"`` where training would fail or do damage, ``"warning"`` where a callback does not do what is meant.
        who: The callback it is about.
        message: What is wrong, in a sentence.
        remedy: What to do about it.
        numbers: What the sentence is about, by name.

    Example:
        >>> import jalon
        >>> from jalon.callbacks import EarlyStopping
        >>> (finding,) = jalon.check(EarlyStopping(patience=20, restore_best_weights=True), epochs=10)
        >>> finding.code, finding.numbers
        ('JAL202', {'patience': 20, 'epochs': 10})
    """

    code: str
    severity: Severity
    who: str
    message: str
    remedy: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code} {self.message} {self.remedy}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "who": self.who,
            "message": self.message,
            "remedy": self.remedy,
            "numbers": {name: _plain(value) for name, value in self.numbers.items()},
        }


class Findings(list[Finding]):
    """Is a list of findings, by code, that prints well.

    Args:
        found: The findings.
        looked_at: How many callbacks were looked at.
    """

    def __init__(self, found: Iterable[Finding] = (), *, looked_at: int = 0) -> None:
        super().__init__(sorted(found, key=lambda finding: finding.code))
        self.looked_at = looked_at

    @property
    def errors(self) -> list[Finding]:
        """Those that training would fail of."""
        return [finding for finding in self if finding.severity == "error"]

    @property
    def codes(self) -> list[str]:
        """The code of each."""
        return [finding.code for finding in self]

    def __str__(self) -> str:
        return "\n".join([*map(_shown, self), self.summary])

    __repr__ = __str__

    @property
    def summary(self) -> str:
        """How many were found, in a sentence."""
        among = _counted(self.looked_at, "callback")
        counts = Counter(finding.severity for finding in self)
        found = " and ".join(_counted(counts[severity], severity) for severity in ("error", "warning") if counts[severity])
        return f"{found} in {among}." if found else f"Nothing found in {among}."


def _shown(finding: Finding) -> str:
    text = textwrap.fill(f"{finding.message} {finding.remedy}", 120, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return f"{finding.code}  {finding.severity:<7}  {text.lstrip()}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
