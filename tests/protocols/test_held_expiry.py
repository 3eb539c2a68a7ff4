"""What was held for too long is given up, and counted."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from django_tenants.utils import schema_context, tenant_context
from msgspec.structs import replace

from devices.models import Device
from protocols.held_expiry import expire_held
from protocols.models import HeldBacklog, HeldMessage, UnroutedCount
from protocols.putting_back import put_back_all
from telemetry.ledger import list_broken_entries, load_ledger
from telemetry.models import RejectedMessage
from tenants.models import Tenant
from tenants.services import set_suspended
from tests.protocols.conftest import MakeMessage
from tests.protocols.trouble import Door, readings_away, values_of

pytestmark = pytest.mark.django_db(transaction=True)


def ledger_of(tenant: Tenant) -> list[tuple[str, int, int, dict[str, int]]]:
    now = timezone.now()
    with tenant_context(tenant):
        rows = load_ledger(start=now - timedelta(hours=1), end=now + timedelta(hours=1), bucket="day")
        assert list_broken_entries() == []
    return [(row.listener, row.received, row.stored, dict(row.rejected_by_reason)) for row in rows]


def hold_since(days: int) -> None:
    """Let what is held have been sent so long ago."""
    HeldMessage.objects.update(received_at=timezone.now() - timedelta(days=days))
    HeldBacklog.objects.update(since=timezone.now() - timedelta(days=days))


def test_what_a_suspended_tenant_had_sent_is_refused_in_its_ledger_after_a_week(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(*(make_message(f'{{"temperature": {value}}}', packet_id=value) for value in (1, 2)))
        door.take(replace(make_message('{"temperature": 3}'), device="nobody"))
    set_suspended(tenant=acme, is_suspended=True)
    hold_since(days=6)
    assert put_back_all() == 0
    assert HeldMessage.objects.count() == 3
    hold_since(days=8)
    HeldMessage.objects.create(tenant="acme", received_at=timezone.now(), size=1, message=b"\x90")
    HeldBacklog.objects.update(messages=4)
    assert put_back_all() == 0
    assert HeldMessage.objects.get().message == b"\x90", "it came just now"
    assert HeldBacklog.objects.get().messages == 1
    assert ledger_of(acme) == [("mqtt", 3, 0, {"held_too_long": 3})]
    assert ledger_of(globex) == []
    with tenant_context(acme):
        rejected = RejectedMessage.objects.order_by("device_id")  # without one comes last
        assert [(row.device_id, row.reason) for row in rejected] == [(pumps["acme"].pk, "held_too_long"), (None, "held_too_long")]
        assert rejected[0].detail.endswith("(and 1 more messages)")


def test_what_nobodys_tables_can_take_or_nobody_can_read_is_counted_all_the_same(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))
        HeldMessage.objects.create(tenant="acme", received_at=timezone.now(), size=1, message=b"\x90")
        HeldBacklog.objects.update(messages=2)
        hold_since(days=8)
        with schema_context(acme.schema_name), connection.cursor() as cursor:
            cursor.execute("ALTER TABLE telemetry_ingestledger RENAME TO ledger_away")
        put_back_all()
        with schema_context(acme.schema_name), connection.cursor() as cursor:
            cursor.execute("ALTER TABLE ledger_away RENAME TO telemetry_ingestledger")
    assert not HeldMessage.objects.exists()
    assert not HeldBacklog.objects.exists()
    assert dict(UnroutedCount.objects.values_list("listener", "messages")) == {"mqtt": 1, "held": 1}
    assert ledger_of(acme) == []


def test_what_a_former_tenant_of_the_same_name_had_sent_is_not_shown_to_the_new_one(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}'))
    HeldMessage.objects.filter(pk=HeldMessage.objects.order_by("pk").values("pk")[:1]).update(owner=uuid4())
    hold_since(days=8)
    assert expire_held(slug="acme", since=HeldBacklog.objects.get().since, now=timezone.now()) == 1
    assert HeldMessage.objects.count() == 1
    assert ledger_of(acme) == [("mqtt", 1, 0, {"held_too_long": 1})]


def test_what_can_be_stored_at_last_is_stored_however_old_it_is(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))
        hold_since(days=8)
    assert put_back_all() == 1
    assert values_of(acme) == [1.0]
