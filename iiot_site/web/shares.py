"""The bar of shares on the overview: widths in per cent for SVG, because the page's policy allows no inline style."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Share:
    """One segment, from `start` on, both in per cent."""

    name: str
    count: int
    start: float
    width: float


def make_shares(counts: Mapping[Any, int]) -> list[Share]:
    """Lay the counts side by side; empty ones are left out."""
    total = sum(counts.values())
    shares: list[Share] = []
    start = 0.0
    for name, count in counts.items():
        if count:
            width = 100 * count / total
            shares.append(Share(name, count, round(start, 3), round(width, 3)))
            start += width
    return shares
