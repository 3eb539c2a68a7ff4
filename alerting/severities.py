"""The order of severities. Pure."""

from typing import Literal, get_args

SeverityName = Literal["critical", "high", "medium", "low", "info"]
_ORDER: tuple[str, ...] = get_args(SeverityName)


def is_worse(severity: str, than: str) -> bool:
    """Tell whether `severity` is more urgent."""
    return _ORDER.index(severity) < _ORDER.index(than)


def worse_of(one: str, other: str) -> str:
    """Return the more urgent of two: a severity may only rise."""
    return one if is_worse(one, other) else other
