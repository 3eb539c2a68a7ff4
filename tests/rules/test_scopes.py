"""Which devices a rule is about; the fast set of watched series agrees with the plain answer."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from rules.conditions.threshold import Threshold
from rules.scopes import Scope, WatchedSeries, subtree_ids

SITES = [uuid.UUID(int=number) for number in range(4)]
scopes = st.builds(
    Scope,
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 3),
    st.none() | st.frozensets(st.sampled_from(SITES), max_size=3),
)
rules = st.lists(st.tuples(st.sampled_from("ab"), scopes), max_size=8)


@given(rules, st.integers(1, 4), st.integers(1, 3), st.none() | st.sampled_from(SITES), st.sampled_from("abc"))
def test_watched_series_is_just_what_some_rule_covers(
    watched: list[tuple[str, Scope]], device: int, device_type: int, site: uuid.UUID | None, metric: str
) -> None:
    conditions = [(key, scope, Threshold(metric="a", operator=">", threshold=n)) for n, (key, scope) in enumerate(watched)]
    expected_conditions = {c for key, scope, c in conditions if key == metric and scope.covers(device, device_type, site)}
    series = WatchedSeries(conditions)
    assert series.watches(device, device_type, site, metric) is bool(expected_conditions)
    found = series.conditions(device, device_type, site, metric)
    assert (len(found), set(found)) == (len(expected_conditions), expected_conditions)


def test_two_conditions_must_both_match() -> None:
    scope = Scope(device_type_id=1, site_ids=frozenset(SITES[:1]))
    assert scope.covers(9, 1, SITES[0])
    assert not scope.covers(9, 1, SITES[1])
    assert not scope.covers(9, 2, SITES[0])
    assert not scope.covers(9, 1, None)


def test_a_subtree_is_the_site_and_everything_below() -> None:
    plant, hall, line, other = SITES
    parents = {plant: None, hall: plant, line: hall, other: None}
    assert subtree_ids(plant, parents) == {plant, hall, line}
    assert subtree_ids(line, parents) == {line}
