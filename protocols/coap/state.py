"""`/s`: what a device shall be set to, and what of it the device has not reported yet."""

from typing import Any

from django.utils import timezone

from devices.state_services import load_state_ref, mark_states_sent
from devices.types import StateRef
from protocols.coap.desk import Matter
from protocols.coap.gate import Sender
from protocols.commands import describe_state

_NOTHING = {"version": 0, "desired": {}, "delta": {}}


def load_state(sender: Sender) -> StateRef | None:
    """Return what is desired of the device; None where nothing ever was."""
    state = load_state_ref(device_id=sender.device.id)
    return state if state is not None and state.version else None


def describe(state: StateRef | None) -> dict[str, Any]:
    """Return a state as devices get it."""
    return _NOTHING if state is None else describe_state(state)


def note_told(state: StateRef) -> None:
    """Write down that the device has been told; where nothing differs there was nothing to tell."""
    if state.delta or state.offer_at is not None:
        mark_states_sent(states=[state], now=timezone.now())


STATE = Matter(name="state", load=load_state, describe=describe, note=note_told)
