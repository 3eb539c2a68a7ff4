"""Fewer points that look the same: Largest Triangle Three Buckets, gap by gap.

Source: Sveinn Steinarsson, Downsampling Time Series for Visual Representation, University of Iceland 2013, section 4.2.
"""

import statistics
from collections.abc import Sequence
from itertools import pairwise

GAP_STEPS = 5


def choose_points(times: Sequence[float], values: Sequence[float], *, count: int) -> list[int]:
    """Return the indices of the `count` points that keep the shape of the curve best: LTTB; the first and last are among them.

    `times` ascend. With `count` points or fewer, or a `count` below 3, all are kept.
    """
    size = len(times)
    if size <= count or count < 3:
        return list(range(size))
    width = (size - 2) / (count - 2)
    chosen = [0]
    for bucket in range(count - 2):
        begin, end = int(bucket * width) + 1, int((bucket + 1) * width) + 1
        following = range(end, min(int((bucket + 2) * width) + 1, size))
        mean_time = sum(times[i] for i in following) / len(following)
        mean_value = sum(values[i] for i in following) / len(following)
        chosen.append(_largest_triangle(times, values, last=chosen[-1], candidates=range(begin, end), apex=(mean_time, mean_value)))
    return [*chosen, size - 1]


def _largest_triangle(times: Sequence[float], values: Sequence[float], *, last: int, candidates: range, apex: tuple[float, float]) -> int:
    """Return the candidate that spans the largest triangle with the point chosen last and the mean of the next bucket."""
    time, value = times[last], values[last]
    run, rise = time - apex[0], apex[1] - value
    best, best_area = candidates[0], -1.0
    for i in candidates:
        area = abs(run * (values[i] - value) - (time - times[i]) * rise)
        if area > best_area:
            best, best_area = i, area
    return best


def split_at_gaps(starts: Sequence[float], ends: Sequence[float], *, gap: float) -> list[range]:
    """Return the indices of what lies without a gap: where one starts more than `gap` after the one before it ended, there is one."""
    if not starts:
        return []
    cuts = [i + 1 for i, (end, start) in enumerate(zip(ends, starts[1:], strict=False)) if start - end > gap]
    return [range(begin, end) for begin, end in pairwise([0, *cuts, len(starts)])]


def widen_gap(gap: float, steps: Sequence[float]) -> float:
    """Return how long nothing may come until it is a gap: `gap`, but a few usual steps at least, for who sends seldom."""
    return max(gap, GAP_STEPS * statistics.median(steps)) if steps else gap


def share_points(sizes: Sequence[int], *, count: int) -> list[int]:
    """Return how many of `count` points each stretch of these sizes gets: by its size, none below what it needs to be seen."""
    total = sum(sizes)
    return [min(size, max(3, round(count * size / total))) for size in sizes]
