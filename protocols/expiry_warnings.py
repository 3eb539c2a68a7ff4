"""Warns before a device's credential expires: an alert per credential, ended when it is rotated, revoked or gone.

Here because alerting and devices do not know each other.
"""

from datetime import datetime, timedelta

from django.conf import settings

from alerting.models import Alert, Severity
from alerting.services import handle_signals
from alerting.types import AlertSignal
from devices.models import DeviceCredential
from iiot_site.lib.times import format_time

SOURCE = "credentials"
_KEY_START = "credential-expiry:"


def warn_of_expiry(*, now: datetime) -> None:
    """Raise and end warnings of the current tenant. What burns already is raised again only when it gets worse.

    An expired credential goes on warning until somebody rotates or revokes it: its device may be locked out.
    """
    due = {_key_of(credential): credential for credential in _list_expiring(now)}
    firing = {alert.dedup_key: alert for alert in Alert.objects.filter(dedup_key__startswith=_KEY_START, source=SOURCE, resolved_at=None)}
    signals = [_trigger(key, credential, now) for key, credential in due.items()]
    raised = [signal for signal in signals if signal.dedup_key not in firing or firing[signal.dedup_key].severity != signal.severity]
    ended = [_resolve(alert, now) for key, alert in firing.items() if key not in due]
    handle_signals(signals=[*raised, *ended], now=now)


def _list_expiring(now: datetime) -> list[DeviceCredential]:
    limit = now + timedelta(days=settings.IIOT_CREDENTIAL_WARNING_DAYS)
    current = DeviceCredential.objects.filter(revoked_at=None, rotated_at=None, expires_at__lt=limit, device__is_enabled=True)
    return list(current.select_related("device"))


def _key_of(credential: DeviceCredential) -> str:
    return f"{_KEY_START}{credential.pk}"


def _trigger(key: str, credential: DeviceCredential, now: datetime) -> AlertSignal:
    device, expires_at = credential.device, credential.expires_at
    is_over = expires_at is not None and expires_at <= now
    words = "has expired" if is_over else "expires soon"
    return AlertSignal(
        dedup_key=key,
        action="trigger",
        severity=Severity.HIGH if is_over else Severity.MEDIUM,
        source=SOURCE,
        device_id=device.pk,
        site_id=device.site_id,
        summary=f"{credential.get_kind_display()} of {device.name} {words}",
        occurred_at=now,
        details={
            "kind": credential.kind,
            "identifier": credential.identifier,
            "expires_at": format_time(expires_at) if expires_at else "",
            "advice": "Rotate it on the device's credentials page.",
        },
    )


def _resolve(alert: Alert, now: datetime) -> AlertSignal:
    return AlertSignal(
        dedup_key=alert.dedup_key,
        action="resolve",
        severity=alert.severity,
        source=SOURCE,
        device_id=alert.device_id,
        site_id=alert.incident.site_id,
        summary=f"No longer: {alert.summary}",
        occurred_at=now,
    )
