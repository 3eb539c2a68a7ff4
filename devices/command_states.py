"""The states of a command: one table, one `transition()`, and when it is offered again. Pure."""

from datetime import datetime, timedelta
from typing import Literal, get_args

from devices.errors import IllegalCommandEventError

State = Literal["queued", "sent", "acknowledged", "failed", "expired"]
Event = Literal["send", "acknowledge", "fail", "expire"]
STATES: tuple[State, ...] = get_args(State)
OPEN_STATES: tuple[State, ...] = ("queued", "sent")

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=10)

# (state, event) -> state afterwards; what is not listed is illegal.
TRANSITIONS: dict[tuple[str, str], State] = {
    ("queued", "send"): "sent",
    ("queued", "acknowledge"): "acknowledged",  # the answer overtook our own note that it was sent
    ("queued", "fail"): "failed",
    ("queued", "expire"): "expired",
    ("sent", "send"): "sent",
    ("sent", "acknowledge"): "acknowledged",
    ("sent", "fail"): "failed",
    ("sent", "expire"): "expired",
    # An answer that comes late tells what the device did all the same.
    ("expired", "acknowledge"): "acknowledged",
    ("expired", "fail"): "failed",
    # Answers come twice where their first delivery was not confirmed.
    ("acknowledged", "acknowledge"): "acknowledged",
    ("failed", "fail"): "failed",
}


def transition(state: str, event: str) -> State:
    """Return the state after `event`.

    Raises:
        IllegalCommandEventError: the state does not allow it.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalCommandEventError(f"Cannot {event} a command that is {state}.", errors={"state": state}) from None


def next_offer_at(*, attempts: int, now: datetime) -> datetime:
    """Return when a command that was sent `attempts` times and not answered is sent again: after 30 s, doubled up to 10 minutes."""
    return now + min(FIRST_WAIT * (1 << min(attempts - 1, 10)), LONGEST_WAIT)
