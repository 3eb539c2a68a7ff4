"""Threshold: one metric against one number, with an optional second number to clear at (hysteresis)."""

import math
import operator
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from devices.keys import is_metric_key
from rules.conditions.errors import ConditionInvalidError

Operator = Literal[">", ">=", "<", "<=", "==", "!="]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
MAX_METRIC_KEY_CHARACTERS = 64

_COMPARE: dict[Operator, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_WORDS: dict[Operator, str] = {">": "above", ">=": "at or above", "<": "below", "<=": "at or below", "==": "equal to", "!=": "other than"}


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="threshold", tag_field="type", omit_defaults=True):
    """`metric operator threshold`; once firing it clears only when `metric operator clear_threshold` is false too."""

    metric: str
    operator: Operator
    threshold: float
    clear_threshold: float | None = None

    def __post_init__(self) -> None:
        if not is_metric_key(self.metric):
            raise ConditionInvalidError(
                "metric", f"Name a metric by its key: {MAX_METRIC_KEY_CHARACTERS} letters, digits and _ . : / - or blank at most."
            )
        if not math.isfinite(self.threshold):
            raise ConditionInvalidError("threshold", "Use a finite number.")
        if self.clear_threshold is not None:
            self._check_clear_threshold(self.clear_threshold)

    def _check_clear_threshold(self, clear: float) -> None:
        if not math.isfinite(clear):
            raise ConditionInvalidError("clear_threshold", "Use a finite number, or leave it out.")
        if self.operator in {"==", "!="}:
            raise ConditionInvalidError("clear_threshold", f"Leave it out: {self.operator} clears as soon as it is no longer true.")
        if self.operator in {">", ">="} and clear > self.threshold:
            raise ConditionInvalidError("clear_threshold", f"Use at most {self.threshold:.10g}: with {self.operator} it clears below.")
        if self.operator in {"<", "<="} and clear < self.threshold:
            raise ConditionInvalidError("clear_threshold", f"Use at least {self.threshold:.10g}: with {self.operator} it clears above.")

    @property
    def metric_keys(self) -> tuple[str, ...]:
        """Return the metrics that the condition reads."""
        return (self.metric,)

    def is_met(self, value: float, *, was_met: bool) -> bool:
        """Tell whether the condition holds, given whether it held before."""
        limit = self.clear_threshold if was_met and self.clear_threshold is not None else self.threshold
        return _COMPARE[self.operator](value, limit)

    def describe(self, *, unit: str) -> str:
        """Return the condition in words, such as "above 80 °C"."""
        return f"{_WORDS[self.operator]} {format_value(self.threshold, unit)}"


def format_value(value: float, unit: str) -> str:
    """Return a number as people write it, with its unit."""
    return f"{value:.10g} {unit}".rstrip()
