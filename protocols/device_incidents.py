"""Which silences become incidents: one for a device, one for a gateway with all behind it, one for a listener of ours.

What is written follows from how things are, not from what happened, so it may run again at any time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce

from django.db import transaction
from django.db.models import Q

from alerting.selectors import list_firing_keys, list_orphaned_keys
from alerting.services import handle_signals, withdraw_alerts
from alerting.severities import worse_of
from alerting.types import AlertSignal
from devices.models import Device, OfflineSeverity
from devices.silent_gateways import Verdict, Voice, judge_silence
from devices.watch import mark_offline_raised, status_of
from iiot_site.lib.schemas import lock_in_schema
from iiot_site.lib.times import format_time
from protocols.outages import Down

DEVICE_SOURCE = "device-status"
LISTENER_SOURCE = "listener"
LISTENER_GRACE = timedelta(seconds=60)
NAMES_SHOWN = 20
BATCH_SIZE = 1_000
_MAX_LEVELS = 10


@dataclass
class Gateways:
    """The gateways that silent devices are connected via, and the voices of each."""

    devices: dict[int, Device]
    voices: dict[int, dict[int, Voice]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is to be raised, and whether something has to be looked at again although nothing is due."""

    devices: dict[int, Device]
    gateways: dict[int, Device]
    is_waiting: bool


@transaction.atomic
def update_incidents(*, down: Mapping[str, Down], now: datetime) -> bool:
    """Raise and end what silence brings in the current tenant; True where some device has to wait for its gateway's verdict."""
    lock_in_schema("device incidents")
    found = _find_silent(now)
    signals = [_raise_device(device, now) for device in found.devices.values()]
    signals += [_raise_gateway(gateway, now) for gateway in found.gateways.values()]
    mark_offline_raised(device_ids=[*found.devices, *found.gateways], is_raised=True)
    over = _find_over()
    signals += [_end_device(device, now) for device in over]
    mark_offline_raised(device_ids=[device.id for device in over], is_raised=False)
    handle_signals(signals=signals + _listener_signals(down, now), now=now)
    if gone := list_orphaned_keys(source=DEVICE_SOURCE):
        withdraw_alerts(source=DEVICE_SOURCE, reason="The device is deleted.", now=now, dedup_keys=gone)
    return found.is_waiting


# --- Devices and gateways


def _find_silent(now: datetime) -> Findings:
    unraised = Device.objects.filter(status=Device.Status.OFFLINE, is_offline_raised=False, is_enabled=True)
    silent = list(
        unraised.exclude(device_type__offline_severity=OfflineSeverity.NONE).select_related("device_type").order_by("id")[:BATCH_SIZE]
    )
    gateways = _load_gateways(silent)
    own: dict[int, Device] = {}
    behind: dict[int, Device] = {}
    is_waiting = len(silent) == BATCH_SIZE
    for device in silent:
        verdict, gateway = _judge(device, gateways, now)
        if verdict == "own":
            own[device.id] = device
        elif verdict == "gateway" and gateway is not None and not gateway.is_offline_raised:
            behind[gateway.id] = gateway
        is_waiting = is_waiting or verdict == "wait"
    return Findings({id_: device for id_, device in own.items() if id_ not in behind}, behind, is_waiting)


def _load_gateways(silent: Iterable[Device]) -> Gateways:
    """Load the gateways of these devices, and theirs, with all that is connected via them."""
    found: dict[int, Device] = {}
    wanted = {device.gateway_id for device in silent if device.gateway_id is not None}
    for _ in range(_MAX_LEVELS):
        if not wanted:
            break
        level = Device.objects.filter(id__in=wanted, is_enabled=True).select_related("device_type")
        found |= {gateway.id: gateway for gateway in level}
        wanted = {gateway.gateway_id for gateway in level if gateway.gateway_id is not None} - set(found)
    gateways = Gateways(found, {id_: {} for id_ in found})
    heard = Device.objects.filter(Q(id__in=found) | Q(gateway_id__in=found), is_enabled=True).exclude(last_seen_at=None)
    for device in heard:
        for gateway_id in (device.id, device.gateway_id):
            if gateway_id in found:
                gateways.voices[gateway_id][device.id] = _voice(device)
    return gateways


def _voice(device: Device) -> Voice:
    return Voice(device.id, status_of(device), device.status_since, device.last_seen_at or device.status_since)


def _judge(device: Device, gateways: Gateways, now: datetime, level: int = 0) -> tuple[Verdict, Device | None]:
    """Return the verdict on a device, and the gateway that is to blame: the furthest one of those that are silent."""
    gateway = gateways.devices.get(device.gateway_id or 0)
    if gateway is None or level == _MAX_LEVELS:
        return "own", None
    voices = gateways.voices[gateway.id].values()
    verdict = judge_silence(_voice(device), timeout=device.device_type.inactivity_timeout, voices=voices, now=now)
    if verdict != "gateway" or gateway.last_seen_at is None:
        return verdict, gateway
    above, blamed = _judge(gateway, gateways, now, level + 1)
    return (above, blamed) if above != "own" else ("gateway", gateway)


def _find_over() -> list[Device]:
    """Return whose alert is to end: heard again, disabled, or of a type that raises none."""
    raised = Device.objects.filter(is_offline_raised=True).select_related("device_type").order_by("id")
    no_more = Q(is_enabled=False) | Q(status__in=[Device.Status.ONLINE, Device.Status.STALE])
    silent_behind = Device.objects.filter(gateway__isnull=False, is_enabled=True).exclude(status=Device.Status.NEVER)
    # A gateway that never sent anything itself is heard by what is connected via it.
    back = silent_behind.exclude(status=Device.Status.OFFLINE).values("gateway_id")
    return list(raised.filter(no_more | Q(status=Device.Status.NEVER, id__in=back)))


def _raise_device(device: Device, now: datetime) -> AlertSignal:
    behind = _list_behind(device)
    more = f"; {len(behind)} devices are connected via it" if len(behind) > 1 else ""
    details: dict[str, object] = {"last_seen": _when(device.last_seen_at), "via": device.last_seen_via}
    if behind:
        details |= {"devices_behind": len(behind), "among_them": behind[:NAMES_SHOWN]}
    return _signal(device, "trigger", device.device_type.offline_severity, f"{device.name} is silent{more}", now, details)


def _raise_gateway(gateway: Device, now: datetime) -> AlertSignal:
    """Raise one for a gateway and all behind it, as urgent as the most urgent of them."""
    behind = list(gateway.children.filter(is_enabled=True).exclude(last_seen_at=None).select_related("device_type").order_by("name"))
    severities = [device.device_type.offline_severity for device in [gateway, *behind]]
    severity = reduce(worse_of, (name for name in severities if name != OfflineSeverity.NONE))
    last = max(device.last_seen_at for device in [gateway, *behind] if device.last_seen_at is not None)
    summary = f"{gateway.name} is silent, and {len(behind)} devices connected via it"
    details: dict[str, object] = {
        "last_seen": _when(last),
        "devices_behind": len(behind),
        "among_them": [device.name for device in behind[:NAMES_SHOWN]],
    }
    return _signal(gateway, "trigger", severity, summary, now, details)


def _when(moment: datetime | None) -> str:
    """Return a moment to the second, as the API writes it and pages understand it."""
    return "" if moment is None else format_time(moment.replace(microsecond=0))


def _list_behind(device: Device) -> list[str]:
    return list(device.children.filter(is_enabled=True).exclude(last_seen_at=None).order_by("name").values_list("name", flat=True))


def _end_device(device: Device, now: datetime) -> AlertSignal:
    words = "is heard again" if device.is_enabled else "is disabled: nobody waits for it"
    severity = device.device_type.offline_severity
    return _signal(device, "resolve", severity, f"{device.name} {words}", now, {})


def _signal(device: Device, action: str, severity: str, summary: str, now: datetime, details: dict[str, object]) -> AlertSignal:
    return AlertSignal(
        dedup_key=f"offline:{device.uuid}",
        action="trigger" if action == "trigger" else "resolve",
        severity=severity,
        source=DEVICE_SOURCE,
        device_id=device.id,
        site_id=device.site_id,
        summary=summary,
        occurred_at=now,
        details=details,
    )


# --- Listeners


def _listener_signals(down: Mapping[str, Down], now: datetime) -> list[AlertSignal]:
    """Tell a tenant whose devices cannot be heard that it is the platform, not the plant."""
    firing = list_firing_keys(source=LISTENER_SOURCE)
    signals = []
    for name, listener in down.items():
        if now - listener.counted_from >= LISTENER_GRACE and _key(name) not in firing and (count := _count_behind(name)):
            whose = "1 device" if count == 1 else f"{count} devices"
            summary = f"The platform takes in no messages over {name}: {whose} cannot be heard"
            details: dict[str, object] = {"listener": name, "down_since": _when(listener.since), "devices": count}
            signals.append(_listener_signal(name, "trigger", summary, now, details))
    names = {_key(name) for name in down}
    for key in firing - names:
        name = key.removeprefix(_key(""))
        signals.append(_listener_signal(name, "resolve", f"Messages over {name} come in again", now, {}))
    return signals


def _key(name: str) -> str:
    return f"listener:{name}"


def _count_behind(listener: str) -> int:
    heard = Device.objects.filter(last_seen_via=listener, is_enabled=True)
    return heard.filter(status__in=[Device.Status.ONLINE, Device.Status.STALE]).count()


def _listener_signal(name: str, action: str, summary: str, now: datetime, details: dict[str, object]) -> AlertSignal:
    return AlertSignal(
        dedup_key=_key(name),
        action="trigger" if action == "trigger" else "resolve",
        severity="high",
        source=LISTENER_SOURCE,
        device_id=None,
        site_id=None,
        summary=summary,
        occurred_at=now,
        details=details,
    )
