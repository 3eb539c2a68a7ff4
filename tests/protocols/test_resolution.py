"""Look-ups come from this process, then from Redis, then from the database; a change counts at once where it is followed."""

import time
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django.fixtures import Settings

from devices.models import Device, DeviceType
from devices.selectors import load_device_refs
from devices.services import delete_device, save_device, save_metric
from iiot_site.lib import lookups
from protocols import resolution
from protocols.invalidation import ChangeFollower
from protocols.resolution import clear_caches, count_lookups, resolve_devices, resolve_metrics, resolve_watched_series
from rules.models import Rule
from rules.services import save_rule, set_rule_enabled
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
HOT = {"type": "threshold", "metric": "temperature", "operator": ">", "threshold": 80.0}


@pytest.fixture(autouse=True)
def _shared(settings: Settings, acme: Tenant, globex: Tenant) -> None:
    settings.IIOT_SHARED_LOOKUPS = True
    lookups._left_alone_until = 0.0
    for tenant in (acme, globex):
        lookups.begin_generation(tenant.schema_name)


@pytest.fixture
def follower() -> Iterator[ChangeFollower]:
    running = ChangeFollower()
    running.start()
    wait_until(lambda: resolution._followed["is_followed"] is True)
    yield running
    running.stop()


@pytest.fixture
def pump(acme: Tenant, make_device: MakeDevice) -> Device:
    with tenant_context(acme):
        return make_device("pump-7")


def look_up_all(tenant: Tenant, pump: Device) -> tuple[object, object, bool]:
    schema, type_id = tenant.schema_name, pump.device_type_id
    watched = resolve_watched_series(schema).watches(pump.id, type_id, None, "temperature")
    return resolve_devices(schema, ["pump-7"]), resolve_metrics(schema, [type_id]), watched


def test_a_process_that_starts_finds_in_redis_what_another_has_looked_up(acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        save_rule(rule=Rule(name="Hot", condition=HOT), now=timezone.now())
        first = look_up_all(acme, pump)
        clear_caches()
        hits, misses = count_lookups()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert look_up_all(acme, pump) == first
        assert [query["sql"] for query in queries if "devices_" in query["sql"] or "rules_" in query["sql"]] == []
    assert first[2] is True
    assert count_lookups() == (hits + 3, misses)


def test_a_change_counts_at_once_where_changes_are_followed(acme: Tenant, pump: Device, follower: ChangeFollower) -> None:
    with tenant_context(acme):
        look_up_all(acme, pump)
        pump.name, pump.is_enabled = "Feed pump", False
        save_device(device=pump)
        wait_until(lambda: resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Feed pump")
        metric = pump.device_type.metrics.get()
        metric.maximum = 90
        save_metric(metric=metric)
        wait_until(lambda: resolve_metrics(acme.schema_name, [pump.device_type_id])[pump.device_type_id]["temperature"].maximum == 90)
        rule = save_rule(rule=Rule(name="Hot", condition=HOT), now=timezone.now())
        wait_until(lambda: look_up_all(acme, pump)[2])
        set_rule_enabled(rule_id=rule.pk, is_enabled=False, now=timezone.now())
        wait_until(lambda: not look_up_all(acme, pump)[2])
        delete_device(device=pump)
        wait_until(lambda: resolve_devices(acme.schema_name, ["pump-7"]) == {})


def test_nothing_is_forgotten_for_a_change_that_is_undone(acme: Tenant, pump: Device, follower: ChangeFollower) -> None:
    with tenant_context(acme):
        look_up_all(acme, pump)
        _, misses = count_lookups()
        with transaction.atomic():
            pump.name = "Never"
            save_device(device=pump)
            transaction.set_rollback(True)
        time.sleep(0.3)
        assert resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Pump 7"
    assert count_lookups()[1] == misses


def test_what_was_read_before_a_change_is_not_remembered_after_it(
    acme: Tenant, pump: Device, follower: ChangeFollower, monkeypatch: pytest.MonkeyPatch
) -> None:

    def load_slowly(keys: list[str]) -> object:
        found = load_device_refs(keys)
        epoch = resolution._epochs.get(acme.schema_name, 0)
        pump.name = "Feed pump"
        save_device(device=pump)
        wait_until(lambda: resolution._epochs.get(acme.schema_name, 0) > epoch)
        return found

    with tenant_context(acme):
        monkeypatch.setattr(resolution, "load_device_refs", load_slowly)
        assert resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Pump 7"
        monkeypatch.setattr(resolution, "load_device_refs", load_device_refs)
        assert resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Feed pump"


def test_tenants_find_only_their_own(acme: Tenant, globex: Tenant, pump: Device, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        resolve_devices(acme.schema_name, ["pump-7"])
    with tenant_context(globex):
        assert resolve_devices(globex.schema_name, ["pump-7"]) == {}
        assert DeviceType.objects.count() == 0


def test_without_redis_the_database_answers_and_redis_is_left_alone_for_a_while(
    acme: Tenant, pump: Device, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    with tenant_context(acme):
        assert "pump-7" in resolve_devices(acme.schema_name, ["pump-7"])
        monkeypatch.setattr(lookups, "_client", lambda _url: pytest.fail("it was asked again"))
        clear_caches()
        assert "pump-7" in resolve_devices(acme.schema_name, ["pump-7"])
        pump.name = "Feed pump"
        save_device(device=pump)


def test_what_another_version_wrote_is_looked_up_again(acme: Tenant, pump: Device) -> None:
    schema = acme.schema_name
    generation, _ = lookups.find_many(schema, "device", ["pump-7"])
    lookups.store_many(schema, "device", generation, {"pump-7": b"\x81\xa1x\x01"})
    with tenant_context(acme):
        assert resolve_devices(schema, ["pump-7"])["pump-7"].id == pump.id


def test_where_nobody_follows_changes_what_is_known_lasts_for_seconds(acme: Tenant, pump: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "UNFOLLOWED_SECONDS", 60)
    with tenant_context(acme):
        resolve_devices(acme.schema_name, ["pump-7"])
        pump.name = "Feed pump"
        save_device(device=pump)
        assert resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Pump 7"
        monkeypatch.setattr(resolution, "UNFOLLOWED_SECONDS", 0)
        assert resolve_devices(acme.schema_name, ["pump-7"])["pump-7"].name == "Feed pump"
