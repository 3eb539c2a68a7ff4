"""Desired and reported state of devices: changed by people and programs, reported by the device, told until both agree.

The database holds the truth, no broker. A device is told when something is desired anew, when it asks, when it comes back,
and again while it has not reported the same, ten times at most; `devices.reaching` says over which protocol.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from devices.command_states import next_offer_at
from devices.errors import StateVersionError, UnreachableDeviceError
from devices.models import DesiredState, DesiredStateChange, Device
from devices.reaching import CLAIM_LEASE, explain_unreachable, next_offer_over, sending_protocol, wake_senders
from devices.state_merge import find_delta, is_same, merge_patch
from devices.types import StateRef
from iiot_site.lib.live import push_frames
from iiot_site.lib.schemas import current_schema
from tenants.models import User

MAX_ATTEMPTS = 10  # with growing waits that takes an hour; after that the device is told when it comes back or asks
KEPT_CHANGES = 200


def load_state(device: Device) -> DesiredState:
    """Return a device's state, an empty one where nothing was ever desired or reported."""
    return DesiredState.objects.filter(device=device).first() or DesiredState(device=device)


def change_desired(
    *,
    device: Device,
    patch: Mapping[str, Any],
    now: datetime,
    expected_version: int | None = None,
    user: User | None = None,
    author: str = "",
) -> DesiredState:
    """Merge a patch (RFC 7396) into what is desired of a device. A patch that changes nothing leaves the version as it is.

    Raises:
        StateVersionError: the version is not the expected one.
        StateRefusedError: the patch, or what comes of it, cannot be kept.
        UnreachableDeviceError: nothing carries it to the device. What was desired before may still be taken back, all of it.
    """
    with transaction.atomic():
        state = _lock(device.pk)
        if expected_version is not None and expected_version != state.version:
            raise StateVersionError(
                f"The desired state is at version {state.version}, not {expected_version}: somebody changed it. Look at it and try again.",
                errors={"version": state.version},
            )
        desired = merge_patch(state.desired, patch)
        if is_same(desired, state.desired):
            return state
        if desired and (obstacle := explain_unreachable(device, now, cargo="state")):
            raise UnreachableDeviceError(obstacle)
        state.desired, state.version = desired, state.version + 1
        state.changed_at, state.changed_by_name = now, author
        DesiredStateChange.objects.create(device=device, version=state.version, patch=patch, at=now, by=user, by_name=author)
        DesiredStateChange.objects.filter(device=device, version__lte=state.version - KEPT_CHANGES).delete()
        state.attempts, state.sent_at = 0, None
        _offer(state, device, now)
        state.save()
        _push(state, device)
    return state


def record_reported(*, device: Device, patch: Mapping[str, Any], now: datetime) -> DesiredState:
    """Merge what a device says of itself into what it reported.

    Raises:
        StateRefusedError: the patch, or what comes of it, cannot be kept.
    """
    with transaction.atomic():
        state = _lock(device.pk)
        reported = merge_patch(state.reported, patch)
        has_changed = not is_same(reported, state.reported)
        state.reported, state.reported_at = reported, now
        state.reported_version += has_changed
        if not find_delta(state.desired, reported):
            state.offer_at = None
        state.save()
        if has_changed:
            _push(state, device)
    return state


def request_state(*, device: Device, now: datetime) -> None:
    """Let a device that asks be told all that is desired of it, also where it has reported the same."""
    with transaction.atomic():
        state = _lock(device.pk)
        state.offer_at = now
        state.save(update_fields=["offer_at"])
        wake_senders(device, now)


def list_behind_ids(*, device_ids: Collection[int]) -> list[int]:
    """Return which of these devices have not reported what is desired of them."""
    states = DesiredState.objects.filter(device__in=device_ids).exclude(desired={}) if device_ids else DesiredState.objects.none()
    return [state.device_id for state in states.order_by("pk") if find_delta(state.desired, state.reported)]


def offer_state_again(*, device: Device, now: datetime) -> None:
    """Let a device that has just come back be told what it has not reported yet."""
    with transaction.atomic():
        state = DesiredState.objects.select_for_update(no_key=True).filter(device=device).first()
        if state is None or not find_delta(state.desired, state.reported):
            return
        state.attempts = 0
        _offer(state, device, now)
        state.save(update_fields=["attempts", "offer_at"])


def claim_states(*, protocol: str, now: datetime, limit: int = 100) -> list[StateRef]:
    """Take states that are to be told over a protocol now; whoever takes them says `mark_states_sent`, or they come again."""
    with transaction.atomic():
        due = DesiredState.objects.filter(offer_at__lte=now, device__is_enabled=True).alias(via=sending_protocol()).filter(via=protocol)
        locked = due.select_for_update(of=("self",), no_key=True, skip_locked=True).select_related("device")
        taken = list(locked.order_by("offer_at")[:limit])
        DesiredState.objects.filter(pk__in=[state.pk for state in taken]).update(offer_at=now + CLAIM_LEASE)
    return [_as_ref(state, offer_at=now + CLAIM_LEASE) for state in taken]


def load_state_ref(*, device_id: int) -> StateRef | None:
    """Return a device's state as it is told; None where nothing was ever desired or reported."""
    state = DesiredState.objects.select_related("device").filter(device_id=device_id).first()
    return None if state is None else _as_ref(state, offer_at=state.offer_at)


def mark_states_sent(*, states: Sequence[StateRef], now: datetime) -> None:
    """Note that states have left for their devices. One that was offered anew in between is told again."""
    with transaction.atomic():
        by_id = {state.device_id: state for state in states}
        locked = DesiredState.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=by_id).select_related("device")
        for state in locked.order_by("pk"):
            if state.version == by_id[state.pk].version:
                _note_told(state, now, has_lease=state.offer_at == by_id[state.pk].offer_at)


def tell_own_state(*, device_id: int, now: datetime) -> DesiredState:
    """Return the state for the device itself, which has asked for it and is told with that."""
    with transaction.atomic():
        state = _lock(device_id)
        if find_delta(state.desired, state.reported):
            _note_told(state, now, has_lease=True)
    return state


def next_state_at(*, protocol: str, now: datetime) -> datetime | None:
    """Return when the next state is to be told over a protocol; None where there is none."""
    return next_offer_over(DesiredState.objects.filter(offer_at__isnull=False), protocol=protocol, now=now)


def _lock(device_id: int) -> DesiredState:
    DesiredState.objects.get_or_create(device_id=device_id)
    return DesiredState.objects.select_for_update(of=("self",), no_key=True).select_related("device").get(device_id=device_id)


def _offer(state: DesiredState, device: Device, now: datetime) -> None:
    state.offer_at = now if find_delta(state.desired, state.reported) else None
    if state.offer_at is not None:
        wake_senders(device, now)


def _note_told(state: DesiredState, now: datetime, *, has_lease: bool) -> None:
    state.attempts += 1
    state.sent_at = now
    if has_lease:
        is_over = state.attempts >= MAX_ATTEMPTS or not find_delta(state.desired, state.reported)
        state.offer_at = None if is_over else next_offer_at(attempts=state.attempts, now=now)
    state.save(update_fields=["attempts", "sent_at", "offer_at"])
    _push(state, state.device)


def _as_ref(state: DesiredState, *, offer_at: datetime | None) -> StateRef:
    delta = find_delta(state.desired, state.reported)
    return StateRef(state.device_id, state.device.key, state.version, state.desired, delta, offer_at, state.attempts + 1)


def _push(state: DesiredState, device: Device) -> None:
    """Tell the pages that show the device; they ask for the rest, with their own rights."""
    schema, topic = current_schema(), f"device:{device.uuid}"
    frame = {"type": "state", "device": str(device.uuid), "version": state.version, "reported_version": state.reported_version}
    transaction.on_commit(lambda: push_frames(schema, [(topic, frame)]))
