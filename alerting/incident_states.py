"""The states of an incident: one table, one `transition()`. Pure."""

from typing import Literal, get_args

from alerting.errors import IllegalTransitionError

State = Literal["new", "acknowledged", "investigating", "resolved"]
Action = Literal["acknowledge", "investigate", "resolve", "reopen"]
STATES: tuple[State, ...] = get_args(State)
ACTIONS: tuple[Action, ...] = get_args(Action)

# (state, action) -> state afterwards; what is not listed is illegal.
TRANSITIONS: dict[tuple[str, str], State] = {
    ("new", "acknowledge"): "acknowledged",
    ("new", "investigate"): "investigating",
    ("new", "resolve"): "resolved",
    ("acknowledged", "investigate"): "investigating",
    ("acknowledged", "resolve"): "resolved",
    ("investigating", "resolve"): "resolved",
    ("resolved", "reopen"): "new",
}


def allowed_actions(state: str) -> list[str]:
    """Return what may be done in a state, in the order in which work proceeds."""
    return [action for (source, action) in TRANSITIONS if source == state]


def transition(state: str, action: str) -> str:
    """Return the state after `action`.

    Raises:
        IllegalTransitionError: the state does not allow it; the message names what it allows.
    """
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        allowed = allowed_actions(state)
        raise IllegalTransitionError(
            f"Cannot {action} an incident that is {state}. Allowed now: {', '.join(allowed)}.", errors={"state": state, "allowed": allowed}
        ) from None
