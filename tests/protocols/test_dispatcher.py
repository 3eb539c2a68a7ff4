"""What is sent to devices: a tenant whose tables fail keeps it from no other."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_tenants.utils import schema_context, tenant_context

from devices.command_services import queue_command
from devices.types import CommandRef
from protocols.commands import CommandDispatcher
from tenants.models import Tenant
from tenants.timers import LEASE
from tests.conftest import MakeDevice


def rename(tenant: Tenant, table: str, name: str) -> None:
    with schema_context(tenant.schema_name), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.mark.django_db(transaction=True)
def test_a_tenant_without_its_table_keeps_no_other_from_its_commands(acme: Tenant, globex: Tenant, make_device: MakeDevice) -> None:
    sent: list[str] = []

    def send(tenant: str, _: CommandRef) -> bool:
        sent.append(tenant)
        return True

    now = timezone.now()
    for tenant in (acme, globex):
        with tenant_context(tenant):
            queue_command(device=make_device("pump-7", protocol="mqtt"), name="reboot", payload=None, now=now)
    dispatcher = CommandDispatcher(protocol="mqtt", send=send, is_ready=lambda: True)
    rename(acme, "devices_command", "command_away")
    dispatcher.dispatch_due(now=now)
    assert sent == ["globex"]
    assert "commands of acme are not sent" in dispatcher.last_error
    rename(acme, "command_away", "devices_command")
    dispatcher.dispatch_due(now=now + LEASE + timedelta(seconds=1))
    assert "acme" in sent
