"""One-time codes on device labels, and devices that are put into service with one."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from devices.errors import ClaimRefusedError
from devices.models import ClaimCode, Device, Site
from devices.services import GATEWAYS_LOCK, save_device
from iiot_site.lib.encryption import UnreadableSecretError, seal, unseal
from iiot_site.lib.schemas import lock_in_schema

_PURPOSE = "device claim code"
_CODE_BYTES = 16


@transaction.atomic
def load_codes(*, devices: Sequence[Device], now: datetime) -> dict[int, str]:
    """Return the code of each device by its id, made where there is none yet; left out are those claimed already.

    The same label can be printed again: its code changes only if the platform's secret key did.
    """
    # Of two people who print a device's first label the second reads what the first has made.
    present = Device.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=[device.pk for device in devices])
    ids = list(present.order_by("pk").values_list("pk", flat=True))
    rows = list(ClaimCode.objects.filter(device__in=ids))
    known = {row.device_id: code for row in rows if row.claimed_at is None and (code := _read(row)) is not None}
    claimed = {row.device_id for row in rows if row.claimed_at is not None}
    made = {id_: secrets.token_urlsafe(_CODE_BYTES) for id_ in ids if id_ not in known and id_ not in claimed}
    ClaimCode.objects.bulk_create(
        [ClaimCode(device_id=id_, sealed_code=_seal(code), created_at=now) for id_, code in made.items()],
        update_conflicts=True,
        unique_fields=["device"],
        update_fields=["sealed_code", "created_at"],
    )
    return known | made


def get_claimable(*, device_key: str, code: str) -> ClaimCode:
    """Return the row of a label's code, with its device; `claimed_at` tells whether it has been used.

    Raises:
        ClaimRefusedError: no device has this code. The same whether the device or the code is wrong.
    """
    row = ClaimCode.objects.select_related("device__device_type", "device__site").filter(device__key=device_key).first()
    known = _read(row) if row else None
    if row is None or known is None or not hmac.compare_digest(known.encode(), code.encode()):
        raise ClaimRefusedError("This label is not valid here. Print a new one from the list of devices.")
    return row


@transaction.atomic
def claim_device(*, device_key: str, code: str, name: str, site: Site | None, is_enabled: bool, now: datetime) -> Device:
    """Put a device into service with its label's code, which then is used up.

    Raises:
        ClaimRefusedError: the code is wrong, or has been used.
        ValidationError: the name is wrong.
    """
    lock_in_schema(GATEWAYS_LOCK)
    found = get_claimable(device_key=device_key, code=code)
    row = ClaimCode.objects.select_for_update().get(pk=found.pk)
    if row.claimed_at is not None:
        raise ClaimRefusedError(f"This label was used on {row.claimed_at:%Y-%m-%d}. Change the device on its own page.")
    device = Device.objects.select_for_update(of=("self",), no_key=True).get(pk=row.device_id)
    device.name, device.site, device.is_enabled = name, site, is_enabled
    row.claimed_at = now
    row.save(update_fields=["claimed_at"])
    return save_device(device=device)


def _seal(code: str) -> str:
    return seal(code.encode(), purpose=_PURPOSE)


def _read(row: ClaimCode) -> str | None:
    try:
        return unseal(row.sealed_code, purpose=_PURPOSE).decode()
    except UnreadableSecretError:
        return None
