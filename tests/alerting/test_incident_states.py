"""The state machine of incidents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import IllegalTransitionError
from alerting.incident_states import ACTIONS, STATES, TRANSITIONS, allowed_actions, transition


def test_an_incident_goes_from_new_to_resolved_and_back() -> None:
    state = "new"
    for action in ("acknowledge", "investigate", "resolve", "reopen"):
        state = transition(state, action)
    assert state == "new"


@pytest.mark.parametrize(
    ("state", "action"), [(state, action) for state in STATES for action in ACTIONS if (state, action) not in TRANSITIONS]
)
def test_it_refuses_what_the_table_does_not_list_and_names_what_is_allowed(state: str, action: str) -> None:
    with pytest.raises(IllegalTransitionError) as refused:
        transition(state, action)
    assert refused.value.http_status == 409
    for allowed in allowed_actions(state):
        assert allowed in refused.value.detail


def test_it_refuses_an_action_that_does_not_exist() -> None:
    with pytest.raises(IllegalTransitionError, match="Cannot explode"):
        transition("new", "explode")


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_no_sequence_of_actions_leaves_the_states_or_gets_stuck(actions: list[str]) -> None:
    state = "new"
    for action in actions:
        if action in allowed_actions(state):
            state = transition(state, action)
        assert state in STATES
        assert allowed_actions(state)


@given(st.lists(st.sampled_from(ACTIONS), max_size=30))
def test_only_a_resolved_incident_can_be_reopened(actions: list[str]) -> None:
    state = "new"
    for action in actions:
        assert ("reopen" in allowed_actions(state)) == (state == "resolved")
        if action in allowed_actions(state):
            state = transition(state, action)
