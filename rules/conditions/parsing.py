"""From a JSON object to a condition, and back."""

from typing import Any

import msgspec

from rules.conditions.errors import ConditionInvalidError
from rules.conditions.threshold import OPERATORS, Threshold

# Becomes a union as types join; msgspec tells them apart by `type`.
Condition = Threshold
CONDITION_TYPES = ("threshold",)

_NUMBER = "Use a number."
_HINTS = {
    "type": f"Use one of: {', '.join(CONDITION_TYPES)}.",
    "metric": "Name a metric by its key.",
    "operator": f"Use one of: {' '.join(OPERATORS)}",
    "threshold": _NUMBER,
    "clear_threshold": "Use a number, or leave it out.",
}


def parse_condition(data: object) -> Condition:
    """Return the condition that `data` (a JSON object with `type`) describes.

    Raises:
        ConditionInvalidError: naming the field and what to change.
    """
    if not isinstance(data, dict):
        example = '{"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80}'
        raise ConditionInvalidError("", f"Use an object such as {example}.")
    if data.get("type") not in CONDITION_TYPES:
        raise ConditionInvalidError("type", _HINTS["type"])
    _check_fields(data)
    try:
        return msgspec.convert(data, Condition)
    except msgspec.ValidationError as exc:
        if isinstance(exc.__cause__, ConditionInvalidError):
            raise exc.__cause__ from None
        field = str(exc).partition("`$.")[2].rstrip("`")
        raise ConditionInvalidError(field, _HINTS.get(field, str(exc))) from None
    except OverflowError:
        raise ConditionInvalidError("threshold", "Use a smaller number.") from None


def _check_fields(data: dict[Any, Any]) -> None:
    fields = {field.name: field.required for field in msgspec.structs.fields(Condition)}
    for name in data:
        if name != "type" and name not in fields:
            raise ConditionInvalidError(str(name)[:64], f"Leave it out. Known fields: type, {', '.join(fields)}.")
    for name, is_required in fields.items():
        if is_required and name not in data:
            raise ConditionInvalidError(name, f"Missing. {_HINTS[name]}")


def dump_condition(condition: Condition) -> dict[str, Any]:
    """Return the JSON object that `parse_condition` reads back; what was left out stays out."""
    dumped: dict[str, Any] = msgspec.to_builtins(condition)
    return dumped
