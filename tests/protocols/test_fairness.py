"""One tenant's locked tables do not take the web server from the others."""

import json
import time

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.services import issue_credential
from protocols.api.fairness import PAUSE_SECONDS, Fairness
from protocols.errors import TenantBusyError
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS


def test_a_tenant_has_half_of_the_pool_at_most(settings: LazySettings) -> None:
    settings.IIOT_DB_POOL_SIZE = 4
    fairness = Fairness()
    with fairness.take_turn("acme"), fairness.take_turn("acme"):
        with pytest.raises(TenantBusyError), fairness.take_turn("acme"):
            pass
        with fairness.take_turn("globex"):
            pass
    with fairness.take_turn("acme"):
        pass


@pytest.mark.django_db(transaction=True)
def test_a_locked_table_is_a_503_and_the_next_request_does_not_wait_for_it(
    acme: Tenant, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr("protocols.api.views.fairness", Fairness(clock=lambda: seconds[0]))
    with tenant_context(acme):
        token = issue_credential(device=make_device(), kind="token", now=timezone.now()).secret
    client = Client(headers={"authorization": f"Bearer {token}"})

    def post() -> int:
        return client.post("/api/v1/telemetry", json.dumps({"temperature": 1}), content_type="application/json").status_code

    def wait_for_locks(seconds: float) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{seconds * 1000:.0f}ms'")

    assert post() == 200
    wait_for_locks(0.1)
    config = connection.get_connection_params()
    login = {name: config[name] for name in ("host", "port", "user", "password", "dbname") if config.get(name)}
    with psycopg.connect(**login) as other:
        other.execute(f"LOCK TABLE {acme.schema_name}.telemetry_reading IN ACCESS EXCLUSIVE MODE")
        assert post() == 503
        seconds[0] += PAUSE_SECONDS - 1
        wait_for_locks(2 * WAIT_SECONDS)
        started = time.monotonic()
        assert post() == 503
        assert time.monotonic() - started < WAIT_SECONDS, "it was tried"
        wait_for_locks(0.1)
    assert post() == 503
    seconds[0] += 2
    assert post() == 200
