import math

from hypothesis import given
from hypothesis import strategies as st

from telemetry.downsample import choose_points, share_points, split_at_gaps, widen_gap

values = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=0, max_size=200)


def test_the_result_is_the_one_that_the_definition_gives() -> None:
    times = [0, 1, 2, 3, 4, 5, 6, 7]
    heights = [0, 1, 5, 3, -1, 9, -8, 0]
    assert choose_points(times, heights, count=5) == [0, *_by_definition(times, heights), 7] == [0, 2, 4, 5, 7]


def _by_definition(times: list[int], heights: list[int]) -> list[int]:
    """Three buckets between the ends; the triangle's area from its corners by the shoelace formula."""
    buckets, ends, last = [[1, 2], [3, 4], [5, 6]], [[3, 4], [5, 6], [7]], 0
    chosen = []
    for bucket, following in zip(buckets, ends, strict=True):
        cx, cy = (sum(axis[i] for i in following) / len(following) for axis in (times, heights))

        def area(b: int, last: int = last, cx: float = cx, cy: float = cy) -> float:
            ax, ay, bx, by = times[last], heights[last], times[b], heights[b]
            return abs(ax * (by - cy) + bx * (cy - ay) + cx * (ay - by)) / 2

        last = max(bucket, key=area)
        chosen.append(last)
    return chosen


def test_a_spike_in_a_flat_line_stays() -> None:
    heights = [0.0] * 10_000
    heights[6_543] = 1.0
    chosen = choose_points(range(10_000), heights, count=100)
    assert 6_543 in chosen
    assert len(chosen) == 100


def test_the_extremes_of_a_sine_stay() -> None:
    heights = [math.sin(n / 500) for n in range(20_000)]
    chosen = choose_points(range(20_000), heights, count=200)
    assert max(heights[i] for i in chosen) > 0.999
    assert min(heights[i] for i in chosen) < -0.999


@given(heights=values, count=st.integers(0, 60))
def test_it_keeps_order_and_ends_and_the_number_asked_for(heights: list[float], count: int) -> None:
    chosen = choose_points(range(len(heights)), heights, count=count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == (len(heights) if count < 3 or len(heights) <= count else count)
    if heights:
        assert (chosen[0], chosen[-1]) == (0, len(heights) - 1)


def test_gaps_are_where_one_starts_long_after_the_one_before_ended() -> None:
    assert split_at_gaps([], [], gap=5) == []
    assert split_at_gaps([0, 10, 20, 40], [5, 15, 35, 41], gap=5) == [range(4)]
    assert split_at_gaps([0, 10.1, 20, 40], [5, 15, 34.9, 41], gap=5) == [range(1), range(1, 3), range(3, 4)]


def test_who_sends_seldom_has_long_gaps() -> None:
    assert widen_gap(10, []) == 10
    assert widen_gap(10, [1, 1, 60]) == 10
    assert widen_gap(10, [60, 60, 3600]) == 300


def test_each_stretch_gets_points_by_its_size() -> None:
    assert share_points([800, 200, 1], count=100) == [80, 20, 1]
    assert share_points([1000, 2], count=10) == [10, 2]
