"""Tells devices of their own alerts: whoever speaks their protocol takes what has changed, newest state only, and sends it.

What is to be told is a time on the alert's row, written in the transaction that raises or ends it; the sender is woken after
the commit, so that alerting waits for nobody.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Min, QuerySet

from alerting.models import Alert
from devices.reaching import CLAIM_LEASE, is_reached_over, list_reached_over, sending_protocol, wake_protocol
from iiot_site.lib.schemas import current_schema

TOLD_OVER = "mqtt"  # the protocol whose devices have a place to hear of alerts


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """The newest state of an alert, for its device. `tell_at` is the claim: a later change of the alert ends it."""

    alert_id: UUID
    device_key: str
    severity: str
    summary: str
    raised_at: datetime
    cleared_at: datetime | None
    tell_at: datetime


def mark_untold(alert: Alert, now: datetime) -> None:
    """Have the alert's device told of its state, if it can be; the caller saves the alert."""
    alert.tell_at = None
    if alert.device_id is not None and is_reached_over(TOLD_OVER, device_id=alert.device_id):
        alert.tell_at = now
        transaction.on_commit(partial(wake_protocol, TOLD_OVER, schema=current_schema(), now=now), robust=True)


def tell_firing_again(*, device_ids: Collection[int], now: datetime) -> None:
    """Tell devices that have come back of what is firing."""
    if not device_ids:
        return
    with transaction.atomic():
        firing = Alert.objects.filter(device__in=list_reached_over(TOLD_OVER, device_ids=device_ids), resolved_at=None)
        # What somebody has locked is changing, and will be told of anyway.
        ids = list(firing.select_for_update(of=("self",), no_key=True, skip_locked=True).values_list("id", flat=True))
        if ids and Alert.objects.filter(id__in=ids).update(tell_at=now):
            transaction.on_commit(partial(wake_protocol, TOLD_OVER, schema=current_schema(), now=now), robust=True)


def claim_notices(*, protocol: str, now: datetime, limit: int = 100) -> list[AlertNotice]:
    """Take what devices are to be told now; whoever takes it says `mark_told`, or it comes again."""
    with transaction.atomic():
        due = _untold_over(protocol).filter(tell_at__lte=now)
        alerts = list(
            due.select_for_update(of=("self",), no_key=True, skip_locked=True).select_related("device").order_by("tell_at")[:limit]
        )
        tell_at = now + CLAIM_LEASE
        Alert.objects.filter(id__in=[alert.id for alert in alerts]).update(tell_at=tell_at)
    return [_describe(alert, tell_at) for alert in alerts]


def mark_told(notices: Sequence[AlertNotice]) -> None:
    """Note that these have left; an alert that has changed since is told again."""
    for notice in notices:
        Alert.objects.filter(id=notice.alert_id, tell_at=notice.tell_at).update(tell_at=None)


def next_notice_at(*, protocol: str) -> datetime | None:
    """Return when the next device is to be told over a protocol; None where there is none."""
    next_at: datetime | None = _untold_over(protocol).aggregate(next_at=Min("tell_at"))["next_at"]
    return next_at


def _untold_over(protocol: str) -> QuerySet[Alert]:
    untold = Alert.objects.filter(tell_at__isnull=False, device__is_enabled=True)
    return untold.alias(via=sending_protocol()).filter(via=protocol)


def _describe(alert: Alert, tell_at: datetime) -> AlertNotice:
    key = alert.device.key if alert.device else ""
    return AlertNotice(alert.id, key, alert.severity, alert.summary, alert.occurred_at, alert.resolved_at, tell_at)
