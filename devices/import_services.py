"""Creates many devices from a CSV file: every row is checked before the first is written."""

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from devices.credential_services import issue_first_credentials
from devices.csv_import import Row, RowError, UnreadableFileError, read_rows
from devices.errors import ImportRefusedError
from devices.models import Device, DeviceType, Protocol
from devices.selectors import list_site_tree
from devices.services import GATEWAYS_LOCK
from devices.types import IssuedCredential
from iiot_site.lib.schemas import lock_in_schema

MAX_REPORTED_ERRORS = 1000
MAX_GATEWAYS_ABOVE = 20
SITE_SEPARATOR = " / "
CREDENTIAL_KINDS = frozenset({"token", "mqtt"})
TYPES_NAMED = 20
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ImportedCredential:
    """What one new device proves itself with; told this once."""

    device_key: str
    issued: IssuedCredential


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. `errors` holds the first thousand of `error_count`."""

    row_count: int
    created_count: int
    error_count: int
    errors: tuple[RowError, ...]
    credentials: tuple[ImportedCredential, ...] = ()


class _Candidate:
    """A row on its way to become a device."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.key = row.texts.get("key", "")
        self.gateway_key = row.texts.get("gateway", "")
        self.errors = list(row.errors)
        self.device: Device | None = None

    def refuse(self, column: str, detail: str) -> None:
        self.errors.append(RowError(self.row.line, column, detail))


def import_devices(*, content: bytes, now: datetime, dry_run: bool, is_partial: bool, credential_kind: str = "") -> ImportReport:
    """Create the devices of a CSV file; `credential_kind` ("token", "mqtt" or "") issues each a credential.

    Existing devices are errors, never changed. With `is_partial` rows without errors are created and the others left
    out; without it one error stops all. A dry run writes nothing and reports the same errors.

    Raises:
        ImportRefusedError: the file cannot be read; or, in an import of all or nothing, some row has an error.
    """
    try:
        rows = read_rows(content)
    except UnreadableFileError as exc:
        raise ImportRefusedError(str(exc)) from exc
    try:
        with transaction.atomic():
            lock_in_schema(GATEWAYS_LOCK)
            return _import_rows(rows, now, dry_run=dry_run, is_partial=is_partial, credential_kind=credential_kind)
    except IntegrityError as exc:
        raise ImportRefusedError("Somebody else just created one of these devices. Check the file again.") from exc


def _import_rows(rows: list[Row], now: datetime, *, dry_run: bool, is_partial: bool, credential_kind: str) -> ImportReport:
    candidates = [_Candidate(row) for row in rows]
    existing = dict(Device.objects.filter(key__in={candidate.key for candidate in candidates}).values_list("key", "id"))
    _check_keys(candidates, existing)
    _build_devices(candidates, now)
    gateways = _check_gateways(candidates)
    errors = [error for candidate in candidates for error in candidate.errors]
    good = [candidate for candidate in candidates if not candidate.errors]
    if errors and not is_partial and not dry_run:
        shown = [{"line": error.line, "column": error.column, "detail": error.detail} for error in errors[:MAX_REPORTED_ERRORS]]
        raise ImportRefusedError(f"{len(errors)} errors: nothing was imported.", errors={"rows": shown})
    credentials: tuple[ImportedCredential, ...] = ()
    if not dry_run:
        devices = _create(good, gateways)
        if credential_kind:
            issued = issue_first_credentials(devices=devices, kind=credential_kind, now=now)
            credentials = tuple(ImportedCredential(device.key, one) for device, one in zip(devices, issued, strict=True))
    return ImportReport(len(rows), len(good), len(errors), tuple(errors[:MAX_REPORTED_ERRORS]), credentials)


def _check_keys(candidates: Iterable[_Candidate], existing: dict[str, int]) -> None:
    seen: dict[str, int] = {}
    for candidate in candidates:
        if candidate.key in existing:
            candidate.refuse("key", "A device of this key exists.")
        elif candidate.key in seen:
            candidate.refuse("key", f"The same key stands in line {seen[candidate.key]}.")
        elif candidate.key:
            seen[candidate.key] = candidate.row.line


def _build_devices(candidates: Iterable[_Candidate], now: datetime) -> None:
    """Make unsaved devices of the rows, and check each by its model's own rules."""
    types = {device_type.name: device_type for device_type in DeviceType.objects.all()}
    sites = _SiteNames()
    for candidate in candidates:
        texts, values = candidate.row.texts, candidate.row.values
        if not candidate.key:
            continue
        device_type = types.get(texts.get("type", ""))
        if texts.get("type") and device_type is None:
            known = ", ".join(sorted(types)[:TYPES_NAMED])
            candidate.refuse(
                "type", f"There is no device type of this name. There are: {known}{', …' if len(types) > TYPES_NAMED else ''}."
            )
        protocol = texts.get("protocol", "").lower()
        if protocol and protocol not in Protocol.values:
            candidate.refuse("protocol", f'"{protocol}" is not one of {", ".join(Protocol.values)}.')
        candidate.device = Device(
            key=candidate.key,
            name=texts.get("name") or candidate.key,
            device_type=device_type,
            site_id=sites.find(candidate, texts.get("site", "")),
            protocol=protocol,
            tags=values.get("tags", []),
            firmware=texts.get("firmware", ""),
            latitude=values.get("latitude"),
            longitude=values.get("longitude"),
            is_enabled=values.get("enabled", True),
            created_at=now,
        )
        _check_fields(candidate, candidate.device)


def _check_fields(candidate: _Candidate, device: Device) -> None:
    blamed = {error.column for error in candidate.errors}
    try:
        device.clean_fields(exclude={"device_type", "site", "gateway"})
    except ValidationError as exc:
        for name, messages in exc.message_dict.items():
            column = "enabled" if name == "is_enabled" else name
            if column not in blamed:
                candidate.refuse(column, " ".join(messages))


class _SiteNames:
    """Finds sites by their path from the root ("Plant / Hall 2"), or by a name that only one of them has."""

    def __init__(self) -> None:
        path: list[str] = []
        self._by_path: dict[str, uuid.UUID] = {}
        self._by_name: dict[str, uuid.UUID] = {}
        nodes = list_site_tree()
        for node in nodes:
            path = [*path[: node.depth], node.site.name]
            self._by_path[SITE_SEPARATOR.join(path)] = node.site.pk
            self._by_name[node.site.name] = node.site.pk
        self._counts = Counter(node.site.name for node in nodes)

    def find(self, candidate: _Candidate, text: str) -> uuid.UUID | None:
        """Return the site's id, None for none; refuses what is unknown or ambiguous."""
        if not text:
            return None
        if text in self._by_path:
            return self._by_path[text]
        if self._counts[text] > 1:
            candidate.refuse("site", f"Several sites have this name. Write the path, for example Plant{SITE_SEPARATOR}{text}.")
        elif text not in self._by_name:
            candidate.refuse("site", "There is no site of this name.")
        return self._by_name.get(text)


def _check_gateways(candidates: list[_Candidate]) -> dict[str, int]:
    """Refuse gateways that do not exist, lead in a circle or too far up; return those that are in the database, by key."""
    wanted = {candidate.gateway_key for candidate in candidates if candidate.gateway_key}
    stored = dict(Device.objects.filter(key__in=wanted).values_list("key", "id"))
    good = {candidate.key: candidate for candidate in candidates if not candidate.errors}
    for candidate, problem in [(candidate, _find_gateway_problem(candidate, good, stored)) for candidate in good.values()]:
        if problem:
            candidate.refuse("gateway", problem)
    return stored


def _find_gateway_problem(candidate: _Candidate, good: dict[str, _Candidate], stored: dict[str, int]) -> str:
    """Walk up from gateway to gateway; "" where it ends at a device without one, or at one in the database."""
    walked = {candidate.key}
    above = candidate.gateway_key
    while above and above not in stored:
        if above in walked:
            return "A device cannot be connected via itself."
        if above not in good:
            return "There is no such device, or its own line has an error."
        if len(walked) > MAX_GATEWAYS_ABOVE:
            return f"More than {MAX_GATEWAYS_ABOVE} gateways stand above this device."
        walked.add(above)
        above = good[above].gateway_key
    return ""


def _create(good: list[_Candidate], ids: dict[str, int]) -> list[Device]:
    """Write gateways before what is connected via them; `ids` are those of the gateways that exist, by key."""
    waiting, created = good, []
    while waiting:
        ready = [candidate for candidate in waiting if not candidate.gateway_key or candidate.gateway_key in ids]
        waiting = [candidate for candidate in waiting if candidate.gateway_key and candidate.gateway_key not in ids]
        devices = [_connect(candidate, ids) for candidate in ready]
        created += Device.objects.bulk_create(devices, batch_size=_BATCH)
        ids = ids | {device.key: device.pk for device in devices}
    return created


def _connect(candidate: _Candidate, ids: dict[str, int]) -> Device:
    device = candidate.device
    assert device is not None, "rows without errors have a device"  # noqa: S101  # for the type checker
    device.gateway_id = ids.get(candidate.gateway_key)
    return device
