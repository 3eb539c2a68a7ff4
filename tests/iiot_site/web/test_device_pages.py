"""The list of devices and a device's page."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django_tenants.utils import tenant_context
from pytest_django import DjangoAssertNumQueries

from devices.models import Device, DeviceCredential, Metric, Site
from devices.services import issue_credential
from rules.models import Rule
from telemetry.services import store_readings
from telemetry.types import NewReading
from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice
from tests.iiot_site.web.conftest import OpenIncident


@pytest.fixture
def viewer(browser: MakeBrowser, acme_viewer: User) -> Client:
    return browser(acme_viewer)


def store(device: Device, metric: Metric, *values: float, step: timedelta = timedelta(seconds=1), quality: int = 0) -> None:
    now = timezone.now()
    moments = [now - step * (len(values) - n) for n in range(len(values))]
    readings = [NewReading(device.pk, metric.pk, ts, now, value, None, quality) for ts, value in zip(moments, values, strict=True)]
    with transaction.atomic():
        store_readings(readings=readings, now=now)


def test_the_list_can_be_searched_and_filtered(viewer: Client, acme: Tenant, pump: Device, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        below = Site.objects.create(name="Cell 9", parent=pump.site)
        fan = make_device("fan-1", name="Roof fan", type_name="Fan", site=below)

    def shown(query: str) -> list[str]:
        page = viewer.get(f"/t/acme/devices?{query}").content.decode()
        return [device.name for device in (pump, fan) if f"/t/acme/devices/{device.uuid}" in page]

    assert shown("") == ["Pump 7", "Roof fan"]
    assert shown("q=FAN-") == ["Roof fan"]
    assert shown(f"site={pump.site_id}") == ["Pump 7", "Roof fan"]
    assert shown(f"site={below.pk}") == ["Roof fan"]
    assert shown(f"type={fan.device_type_id}") == ["Roof fan"]
    assert shown("status=online") == ["Pump 7"]
    assert shown("status=never") == ["Roof fan"]
    assert shown("site=nonsense") == []
    assert shown("order=open&status=nonsense&page=x&type=9999999999999999999999") == []
    assert "No device fits these filters" in viewer.get("/t/acme/devices?q=zzz", headers={"HX-Request": "true"}).content.decode()


def test_the_list_costs_the_same_for_many_devices(
    viewer: Client, acme: Tenant, pump: Device, make_device: MakeDevice, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with tenant_context(acme):
        for n in range(30):
            make_device(f"pump-{n + 100}", name=f"Pump {n + 100}", site=pump.site)
    with django_assert_max_num_queries(14):
        viewer.get("/t/acme/devices")


def test_an_empty_plant_says_how_to_begin(browser: MakeBrowser, acme_developer: User, acme_viewer: User) -> None:
    assert "Ask a developer of this tenant" in browser(acme_viewer).get("/t/acme/devices").content.decode()
    assert "/t/acme/admin/devices/device/add/" in browser(acme_developer).get("/t/acme/devices").content.decode()


def test_a_device_shows_values_quality_and_how_it_sends(viewer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        store(pump, Metric.objects.get(), 20.5, 21.25, quality=1)
        issued = issue_credential(device=pump, kind=DeviceCredential.Kind.MQTT, now=timezone.now())
    page = viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    for fact in ("21.25", "Uncertain", "Online", "t/acme/pump-7/telemetry", "acme/pump-7", 'data-metric="temperature"'):
        assert fact in page
    assert issued.secret not in page
    assert "mosquitto_pub" in page


def test_a_metric_that_a_message_has_just_registered_is_marked(viewer: Client, acme: Tenant, pump: Device) -> None:
    now = timezone.now()
    with tenant_context(acme):
        for key, registered_at in (("temprature", now), ("pressure", now - timedelta(days=2))):
            store(pump, Metric.objects.create(device_type=pump.device_type, key=key, registered_at=registered_at), 1.0)
    page = viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    assert page.count(">New<") == 1
    assert "New in the last day" in page
    assert '<span class="mono">temprature</span>' in page


def test_history_can_be_downloaded_from_the_page(viewer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        store(pump, Metric.objects.get(), 20.5)
    page = viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    address = f"/t/acme/api/v1/devices/{pump.uuid}/telemetry?format=csv"
    assert f'href="{address}&amp;metric=temperature"' in page
    answer: Any = viewer.get(address)
    assert answer["Content-Disposition"].startswith('attachment; filename="pump-7_')
    assert b"pump-7,temperature," in b"".join(answer.streaming_content)


def test_a_boolean_reads_as_yes_or_no(viewer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        store(pump, Metric.objects.create(device_type=pump.device_type, key="running", data_type="boolean"), 1.0)
    assert '<span class="value">yes</span>' in viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()


def test_a_device_without_values_says_what_to_do(viewer: Client, pump: Device) -> None:
    page = viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    assert "No value yet" in page
    assert "no MQTT login yet" in page


def test_the_present_value_stands_beside_the_device_s_status(viewer: Client, acme: Tenant, pump: Device) -> None:
    path = f"/t/acme/devices/{pump.uuid}/now?metric=temperature"
    assert "no value of temperature" in viewer.get(path).content.decode()
    with tenant_context(acme):
        store(pump, Metric.objects.get(), 96.5, quality=2)
        Device.objects.filter(pk=pump.pk).update(status="stale")
    page = viewer.get(path).content.decode()
    for sign in ("96.5", "Bad", "Stale", "ago"):
        assert sign in page, sign


def test_the_chart_begins_with_the_metric_that_burns(viewer: Client, acme: Tenant, pump: Device, open_incident: OpenIncident) -> None:
    with tenant_context(acme):
        other = Metric.objects.create(device_type=pump.device_type, key="current")
        store(pump, other, 3.0)
        store(pump, Metric.objects.get(key="temperature"), 99.0)
    assert 'data-metric="current" data-span' in viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    open_incident()
    assert 'data-metric="temperature" data-span' in viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()


def test_the_chart_gets_all_points_where_few_and_those_that_keep_its_shape_where_many(viewer: Client, acme: Tenant, pump: Device) -> None:
    def chart(span: str) -> list[list[float | None]]:
        points: list[list[float | None]] = viewer.get(f"/t/acme/devices/{pump.uuid}/chart?metric=temperature&span={span}").json()["points"]
        return points

    def fill(*values: float, **how: Any) -> None:
        with tenant_context(acme):
            store(pump, Metric.objects.get(), *values, **how)

    fill(*range(10), step=timedelta(seconds=1), quality=1)
    assert [point[1:] for point in chart("1h")] == [[n, 1] for n in range(10)]
    fill(*[500.0 if n == 777 else n % 7 for n in range(6000)], step=timedelta(milliseconds=100))
    points = chart("15m")
    assert 990 <= len(points) <= 1010
    assert max(value for _, value, _ in points if value is not None) == 500.0
    assert points == sorted(points)
    assert viewer.get(f"/t/acme/devices/{pump.uuid}/chart?metric=unknown").status_code == 404


def test_the_chart_shows_where_nothing_came(viewer: Client, acme: Tenant, pump: Device) -> None:
    with tenant_context(acme):
        Metric.objects.update(expected_period=timedelta(seconds=1))
        store(pump, Metric.objects.get(), 1.0, 2.0, step=timedelta(minutes=5))
    points = viewer.get(f"/t/acme/devices/{pump.uuid}/chart?metric=temperature&span=nonsense").json()["points"]
    assert [point[1:] for point in points] == [[1.0, 0], [2.0, 0]]  # always so far apart: no gap
    with tenant_context(acme):
        store(pump, Metric.objects.get(), *[3.0] * 20)
    points = viewer.get(f"/t/acme/devices/{pump.uuid}/chart?metric=temperature&span=1h").json()["points"]
    assert [value for _, value, _ in points] == [1.0, None, 2.0, None, *[3.0] * 20]


def test_the_chart_knows_the_thresholds_that_concern_the_device(
    viewer: Client, acme: Tenant, pump: Device, make_device: MakeDevice
) -> None:
    def rule(name: str, *, metric: str = "temperature", **scope: object) -> None:
        condition = {"type": "threshold", "metric": metric, "operator": ">", "threshold": 80}
        Rule.objects.create(name=name, condition=condition, severity="high", **scope)

    with tenant_context(acme):
        elsewhere = Site.objects.create(name="Elsewhere")
        fan = make_device("fan-1", type_name="Fan")
        rule("Everywhere")
        rule("Its site", site=pump.site)
        rule("Other metric", metric="current")
        rule("Other device", device=fan)
        rule("Other type", device_type=fan.device_type)
        rule("Other site", site=elsewhere)
        rule("Switched off", is_enabled=False)
        store(pump, Metric.objects.get(device_type=pump.device_type), 20.0)
    data = viewer.get(f"/t/acme/devices/{pump.uuid}/chart?metric=temperature&span=1h").json()
    assert [limit["name"] for limit in data["limits"]] == ["Everywhere", "Its site"]
    assert [point[1:] for point in data["points"]] == [[20.0, 0]]


def test_the_health_card_says_what_stands_out(viewer: Client, acme: Tenant, pump: Device) -> None:
    page = viewer.get(f"/t/acme/devices/{pump.uuid}").content.decode()
    assert f'hx-get="/t/acme/devices/{pump.uuid}/health" hx-trigger="load"' in page
    assert "Nothing stands out" in viewer.get(f"/t/acme/devices/{pump.uuid}/health").content.decode()
    with tenant_context(acme):
        Device.objects.filter(pk=pump.pk).update(status="offline")
    card = viewer.get(f"/t/acme/devices/{pump.uuid}/health").content.decode()
    assert "It is offline" in card
    assert "Silent since" in card
