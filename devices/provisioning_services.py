"""Provisioning keys, and devices that register themselves with one."""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime

import redis
from django.core.cache import cache
from django.db import IntegrityError, transaction

from devices.credential_formats import hash_token_secret, is_token_secret, make_provisioning_key, parse_provisioning_key, slug_of_schema
from devices.credential_services import issue_credential, revoke_credential
from devices.errors import DeviceTakenError, ProvisioningKeyInvalidError, ProvisioningRefusedError
from devices.models import Device, DeviceCredential, ProvisioningKey
from devices.provisioning import why_unusable
from devices.services import create_device
from devices.types import IssuedCredential
from iiot_site.lib.schemas import current_schema

logger = logging.getLogger(__name__)

RETRY_SECONDS = 600
_KINDS = (DeviceCredential.Kind.TOKEN, DeviceCredential.Kind.MQTT)


@dataclass(frozen=True, slots=True)
class ProvisionedDevice:
    """A device that registered itself, with credentials that are told this once."""

    device: Device
    credentials: tuple[IssuedCredential, ...]


# --- Keys


def issue_provisioning_key(*, key: ProvisioningKey, now: datetime) -> str:
    """Store a new key, given with name, type and limits, and return its secret text, which cannot be read again.

    Raises:
        ValidationError: a field is wrong.
    """
    parts = make_provisioning_key(slug_of_schema(current_schema()))
    key.prefix, key.secret_hash, key.created_at = parts.prefix, hash_token_secret(parts.secret), now
    key.full_clean()
    key.save()
    return str(parts)


def revoke_provisioning_key(*, key: ProvisioningKey, now: datetime) -> None:
    """Let no further device register with the key; those that did stay."""
    if ProvisioningKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        key.revoked_at = now


# --- Devices


def provision_device(*, key_text: str, device_key: str, name: str, attempt: str, now: datetime) -> ProvisionedDevice:
    """Register a device in the current tenant, or claim one that was pre-registered and never had a credential.

    `attempt` is a text that the device made up (may be empty): asking again with the same one within ten minutes
    replaces the credentials, so that an answer lost on the way locks nobody out.

    Raises:
        ProvisioningKeyInvalidError: no such key, or it is used up, expired or revoked.
        DeviceTakenError: the device exists and has, or had, credentials.
        ProvisioningRefusedError: it exists with another type, or is disabled.
        ValidationError: key or name of the device is wrong.
    """
    try:
        with transaction.atomic():
            provisioned = _provision(key_text, device_key, name, attempt, now)
    except IntegrityError as exc:
        raise DeviceTakenError("This device has just been registered.") from exc
    if attempt:
        _remember_attempt(provisioned.device, attempt)
    return provisioned


def _remember_attempt(device: Device, attempt: str) -> None:
    try:
        cache.set(_attempt_name(device), _digest(attempt), RETRY_SECONDS)
    except redis.RedisError as exc:
        logger.warning("%s cannot repeat its registration: %s", device.key, exc)


def _provision(key_text: str, device_key: str, name: str, attempt: str, now: datetime) -> ProvisionedDevice:
    key = _find_key(key_text)
    device = Device.objects.select_for_update(of=("self",), no_key=True).filter(key=device_key).first()
    is_repeated = device is not None and _is_repeated(device, key, attempt)
    if not is_repeated:
        reason = why_unusable(revoked_at=key.revoked_at, expires_at=key.expires_at, use_count=key.use_count, max_uses=key.max_uses, now=now)
        if reason is not None:
            raise ProvisioningKeyInvalidError(reason)
        if device is not None:
            _check_claimable(device, key)
        key.use_count += 1
        key.save(update_fields=["use_count"])
    if device is None:
        device = create_device(key=device_key, name=name or device_key, device_type=key.device_type, site=key.site)
    elif is_repeated:
        for credential in device.credentials.filter(revoked_at=None):
            revoke_credential(credential=credential, now=now)
    return ProvisionedDevice(device, tuple(issue_credential(device=device, kind=kind, now=now) for kind in _KINDS))


def _find_key(text: str) -> ProvisioningKey:
    parts = parse_provisioning_key(text)
    rows = ProvisioningKey.objects.select_related("device_type", "site").select_for_update(of=("self",), no_key=True)
    key = rows.filter(prefix=parts.prefix).first() if parts else None
    if parts is None or key is None or not is_token_secret(parts.secret, key.secret_hash):
        raise ProvisioningKeyInvalidError("The provisioning key is not valid.")
    return key


def _check_claimable(device: Device, key: ProvisioningKey) -> None:
    """Whoever holds a key of a fleet must not take over a device that somebody has used, not even a revoked one."""
    if device.credentials.exists():
        raise DeviceTakenError("This device is registered already. Rotate its credentials, or delete the device first.")
    if device.device_type_id != key.device_type_id:
        raise ProvisioningRefusedError("The device is pre-registered with another type than the key's.")
    if not device.is_enabled:
        raise ProvisioningRefusedError("The device is pre-registered and disabled. Enable it first.")


def _is_repeated(device: Device, key: ProvisioningKey, attempt: str) -> bool:
    """Tell whether this device asks again for what it was given minutes ago and never used."""
    if not attempt or key.revoked_at is not None or device.device_type_id != key.device_type_id:
        return False
    is_unused = not device.credentials.exclude(last_used_at=None).exists() and device.last_seen_at is None
    return is_unused and _recall_attempt(device) == _digest(attempt)


def _recall_attempt(device: Device) -> str | None:
    """Return the digest of the last attempt. Fails closed: nobody gets a device's credentials because Redis is away."""
    try:
        recalled: str | None = cache.get(_attempt_name(device))
    except redis.RedisError as exc:
        logger.warning("whether %s repeats its registration is not known: %s", device.key, exc)
        return None
    return recalled


def _attempt_name(device: Device) -> str:
    return f"provisioning:{device.uuid}"


def _digest(attempt: str) -> str:
    return hashlib.sha256(attempt.encode()).hexdigest()
