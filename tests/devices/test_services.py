import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django_tenants.utils import tenant_context

from devices import services
from devices.credential_formats import make_device_token
from devices.errors import StillInUseError, TooManyCredentialsError
from devices.models import Device, DeviceCredential, DeviceType, Metric, Site
from devices.selectors import (
    count_devices_by_status,
    get_device_ref,
    list_site_subtree_ids,
    list_site_tree,
    load_broker_logins,
    load_device_refs,
    load_metric_refs,
)
from devices.types import NewMetric
from iiot_site.lib.broker_password import verify_broker_password
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.waiting import WAIT_SECONDS

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("in_acme")


def make_site(name: str, parent: Site | None = None) -> Site:
    return services.save_site(site=Site(name=name, parent=parent))


# --- Sites


def test_the_tree_lists_children_below_their_parent_by_name() -> None:
    plant = make_site("Plant")
    hall_b, hall_a = make_site("Hall B", plant), make_site("Hall A", plant)
    make_site("Line", hall_b)
    make_site("Another plant")
    assert [(n.site.name, n.depth) for n in list_site_tree()] == [
        ("Another plant", 0),
        ("Plant", 0),
        ("Hall A", 1),
        ("Hall B", 1),
        ("Line", 2),
    ]
    assert set(list_site_subtree_ids(plant.id)) == set(Site.objects.exclude(name="Another plant").values_list("id", flat=True))
    assert list_site_subtree_ids(hall_a.id) == [hall_a.id]


def test_a_site_cannot_stand_inside_itself() -> None:
    plant = make_site("Plant")
    hall = make_site("Hall", plant)
    plant.parent = hall
    with pytest.raises(ValidationError, match="inside itself"):
        services.save_site(site=plant)
    hall.parent = hall
    with pytest.raises(ValidationError, match="inside itself"):
        services.save_site(site=hall)


def test_a_site_in_use_is_not_deleted(make_device: MakeDevice) -> None:
    plant = make_site("Plant")
    hall = make_site("Hall", plant)
    make_device(site=hall)
    for site in (plant, hall):
        with pytest.raises(StillInUseError):
            services.delete_site(site=site)
    Device.objects.all().delete()
    services.delete_site(site=hall)
    services.delete_site(site=plant)
    assert not Site.objects.exists()


# --- Devices


@pytest.mark.parametrize("key", ["", "a b", "a/b", "a+b", "#", "é", "a" * 65, "a\n"])
def test_a_key_that_could_mean_another_topic_is_refused(make_device: MakeDevice, key: str) -> None:
    with pytest.raises(ValidationError):
        make_device(key=key)


def test_changing_a_device_leaves_its_key_and_when_it_was_seen(make_device: MakeDevice) -> None:
    device = make_device()
    services.record_activity(seen={device.id: NOW})
    device.name, device.key = "New name", "new-key"
    services.save_device(device=device)
    device.refresh_from_db()
    assert (device.name, device.key, device.last_seen_at) == ("New name", "pump-7", NOW)


def test_a_device_is_not_connected_via_itself(make_device: MakeDevice) -> None:
    gateway = make_device(key="gateway")
    device = make_device(key="behind", gateway=gateway)
    gateway.gateway = device
    with pytest.raises(ValidationError, match="via itself"):
        services.save_device(device=gateway)


def test_a_gateway_in_use_and_a_type_in_use_stay(make_device: MakeDevice) -> None:
    gateway = make_device(key="gateway")
    device = make_device(key="behind", gateway=gateway)
    with pytest.raises(StillInUseError):
        services.delete_device(device=gateway)
    with pytest.raises(StillInUseError):
        services.delete_device_type(device_type=device.device_type)
    services.delete_device(device=device)
    services.delete_device(device=gateway)
    services.delete_device_type(device_type=device.device_type)
    assert not Metric.objects.exists()


def test_refs_of_known_devices_come_in_one_query(make_device: MakeDevice, django_assert_num_queries: object) -> None:
    device = make_device()
    DeviceType.objects.update(unknown_metrics="reject")
    with django_assert_num_queries(1):  # type: ignore[operator]
        refs = load_device_refs(["pump-7", "nobody"])
    assert list(refs) == ["pump-7"]
    assert refs["pump-7"] == get_device_ref(device.id)
    assert (refs["pump-7"].uuid, refs["pump-7"].registers_unknown_metrics) == (device.uuid, False)
    assert get_device_ref(0) is None


def test_activity_moves_forward_only_and_in_steps_worth_a_write(make_device: MakeDevice) -> None:
    device = make_device()

    def seen_after(moment: datetime) -> datetime | None:
        services.record_activity(seen={device.id: moment, 0: moment})
        device.refresh_from_db()
        return device.last_seen_at

    assert seen_after(NOW) == NOW
    assert seen_after(NOW - timedelta(hours=1)) == NOW
    assert seen_after(NOW + timedelta(seconds=4.9)) == NOW
    assert seen_after(NOW + timedelta(seconds=5)) == NOW + timedelta(seconds=5)
    services.record_activity(seen={})


def test_what_is_heard_is_online_and_its_return_is_history(make_device: MakeDevice) -> None:
    device = make_device()
    services.record_activity(seen={device.id: NOW}, via="mqtt")
    services.record_activity(seen={device.id: NOW + timedelta(minutes=1)}, via="http")
    device.refresh_from_db()
    assert (device.status, device.status_since, device.last_seen_via) == ("online", NOW, "http")
    assert [(change.before, change.after, change.at) for change in device.status_changes.all()] == [("never", "online", NOW)]
    assert count_devices_by_status() == {"online": 1, "stale": 0, "offline": 0, "never": 0}


# --- Metrics


def test_new_metrics_are_registered_once_with_the_type_of_their_value(make_device: MakeDevice) -> None:
    type_id = make_device().device_type_id
    wanted = [NewMetric(type_id, "speed", "number"), NewMetric(type_id, "mode", "text"), NewMetric(type_id, "temperature", "number")]
    first = services.register_metrics(metrics=wanted, now=NOW)
    assert {key: ref.data_type for (_, key), ref in first.items()} == {"speed": "number", "mode": "text", "temperature": "number"}
    assert services.register_metrics(metrics=wanted, now=NOW) == first
    assert dict(Metric.objects.values_list("key", "registered_at")) == {"speed": NOW, "mode": NOW, "temperature": None}
    assert load_metric_refs([type_id]) == first


def test_a_type_gets_at_most_200_metrics(make_device: MakeDevice) -> None:
    type_id = make_device().device_type_id
    registered = services.register_metrics(metrics=[NewMetric(type_id, f"m{n}", "number") for n in range(250)], now=NOW)
    assert len(registered) == 199
    assert Metric.objects.count() == 200


def test_a_strict_type_and_a_hostile_key_register_nothing(make_device: MakeDevice) -> None:
    device_type = make_device().device_type
    assert services.register_metrics(metrics=[NewMetric(device_type.id, "9\n<b>", "number")], now=NOW) == {}
    DeviceType.objects.update(unknown_metrics="reject")
    assert services.register_metrics(metrics=[NewMetric(device_type.id, "speed", "number")], now=NOW) == {}


# --- Credentials


def test_a_token_proves_its_device_until_it_is_revoked(make_device: MakeDevice) -> None:
    device = make_device()
    first = services.issue_credential(device=device, kind="token", now=NOW)
    second = services.issue_credential(device=device, kind="token", now=NOW)
    for issued in (first, second):
        assert services.authenticate_device_token(token=issued.secret, now=NOW) == get_device_ref(device.id)
    services.revoke_credential(credential=DeviceCredential.objects.get(pk=first.credential_id), now=NOW)
    assert services.authenticate_device_token(token=first.secret, now=NOW) is None
    assert services.authenticate_device_token(token=second.secret, now=NOW) is not None


def test_an_expired_or_altered_token_proves_nothing(make_device: MakeDevice) -> None:
    issued = services.issue_credential(device=make_device(), kind="token", now=NOW, expires_at=NOW + timedelta(days=1))
    assert services.authenticate_device_token(token=issued.secret, now=NOW + timedelta(days=1)) is None
    wrong = "A" if issued.secret[-1] != "A" else "B"
    assert services.authenticate_device_token(token=issued.secret[:-1] + wrong, now=NOW) is None
    assert services.authenticate_device_token(token=str(make_device_token("acme")), now=NOW) is None


def test_a_token_is_worth_nothing_in_another_tenant(make_device: MakeDevice, globex: Tenant) -> None:
    issued = services.issue_credential(device=make_device(), kind="token", now=NOW)
    with tenant_context(globex):
        assert services.authenticate_device_token(token=issued.secret, now=NOW) is None
        assert services.authenticate_device_token(token=issued.secret.replace("acme", "globex"), now=NOW) is None


def test_only_hashes_are_kept(make_device: MakeDevice) -> None:
    device = make_device()
    secrets = [services.issue_credential(device=device, kind=kind, now=NOW).secret for kind in ("token", "mqtt")]
    kept = json.dumps(list(DeviceCredential.objects.values("identifier", "secret_hash")))
    assert not any(secret in kept or secret.rpartition(".")[2] in kept for secret in secrets)


def test_a_new_mqtt_password_replaces_the_old_one(make_device: MakeDevice) -> None:
    device = make_device()
    old = services.issue_credential(device=device, kind="mqtt", now=NOW)
    new = services.issue_credential(device=device, kind="mqtt", now=NOW)
    logins = load_broker_logins(NOW)
    assert list(logins) == ["acme/pump-7"] == [new.username]
    assert verify_broker_password(new.secret, logins["acme/pump-7"])
    assert not verify_broker_password(old.secret, logins["acme/pump-7"])
    services.revoke_credential(credential=DeviceCredential.objects.get(pk=new.credential_id), now=NOW)
    assert load_broker_logins(NOW) == {}


def test_tokens_of_a_device_are_bounded_and_expired_ones_do_not_count(make_device: MakeDevice) -> None:
    device = make_device()
    for n in range(10):
        services.issue_credential(device=device, kind="token", now=NOW, expires_at=NOW + timedelta(days=1) if n == 0 else None)
    with pytest.raises(TooManyCredentialsError):
        services.issue_credential(device=device, kind="token", now=NOW)
    services.issue_credential(device=device, kind="token", now=NOW + timedelta(days=2))


def test_an_unknown_kind_is_refused(make_device: MakeDevice) -> None:
    with pytest.raises(ValueError, match="certificate"):
        services.issue_credential(device=make_device(), kind="certificate", now=NOW)


@pytest.fixture
def notifications(transactional_db: None) -> Iterator[psycopg.Connection]:
    settings = connections.settings["default"]
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"] or None,
        dbname=settings["NAME"],
        autocommit=True,
    ) as listener:
        listener.execute("LISTEN iiot_credentials")
        yield listener


def test_whoever_feeds_the_broker_hears_of_each_change_after_its_commit(notifications: psycopg.Connection, make_device: MakeDevice) -> None:
    device = make_device()

    def heard(*, seconds: float = WAIT_SECONDS) -> list[str]:
        return [n.payload for n in notifications.notifies(timeout=seconds, stop_after=1)]

    with transaction.atomic():
        issued = services.issue_credential(device=device, kind="mqtt", now=NOW)
        assert heard(seconds=0.3) == []
    assert heard() == ["t_acme"]
    credential = DeviceCredential.objects.get(pk=issued.credential_id)
    services.revoke_credential(credential=credential, now=NOW)
    services.revoke_credential(credential=credential, now=NOW)
    assert heard() == ["t_acme"]
    services.delete_device(device=device)
    assert heard() == ["t_acme"]
    assert heard(seconds=0.3) == []
    assert connection.schema_name == "t_acme"  # type: ignore[attr-defined]
