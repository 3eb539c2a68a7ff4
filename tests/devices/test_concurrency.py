"""Several processes register metrics at once: real transactions on connections of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.claim_services import load_codes
from devices.errors import RotationRefusedError
from devices.models import DeviceCredential, Metric, Site
from devices.services import issue_credential, register_metrics, rotate_credential, save_site
from devices.types import NewMetric
from tenants.models import Tenant
from tests.concurrency import run_at_once
from tests.conftest import MakeDevice

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    tenant: Tenant = Tenant.objects.get(slug="acme")
    return tenant


def test_the_bound_on_metrics_holds_when_four_register_at_once(tenant: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(tenant):
        type_id = make_device().device_type_id
    start = threading.Barrier(4)

    def register(n: int) -> int:
        start.wait()
        try:
            with tenant_context(tenant):
                keys = [f"m{k}" for k in range(n * 40, n * 40 + 100)]
                return len(register_metrics(metrics=[NewMetric(type_id, key, "number") for key in keys], now=timezone.now()))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        registered = list(pool.map(register, range(4)))
    with tenant_context(tenant):
        assert Metric.objects.count() == 200
    assert max(registered) == 100


def test_two_moves_at_once_do_not_close_a_circle(tenant: Tenant) -> None:
    with tenant_context(tenant):
        left, right = save_site(site=Site(name="Left")), save_site(site=Site(name="Right"))
    start = threading.Barrier(2)

    def move(pair: tuple[Site, Site]) -> bool:
        site, parent = pair
        start.wait()
        try:
            with tenant_context(tenant):
                moved = Site.objects.get(pk=site.pk)
                moved.parent = parent
                save_site(site=moved)
        except ValidationError:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(move, [(left, right), (right, left)])) == [False, True]


def test_two_rotations_of_one_credential_at_once_make_one_successor(tenant: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(tenant):
        issued = issue_credential(device=make_device(), kind="token", now=timezone.now())

    def rotate(_: int) -> bool:
        try:
            with tenant_context(tenant):
                credential = DeviceCredential.objects.select_related("device").get(pk=issued.credential_id)
                rotate_credential(credential=credential, now=timezone.now())
        except RotationRefusedError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(rotate, range(4))) == 1
    with tenant_context(tenant):
        assert DeviceCredential.objects.count() == 2


def test_two_who_print_a_first_label_at_once_get_the_same_code(tenant: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(tenant):
        device = make_device()
    printed: list[dict[int, str]] = []

    def print_label() -> None:
        printed.append(load_codes(devices=[device], now=timezone.now()))

    assert run_at_once(tenant, [print_label] * 3) == [None] * 3
    assert printed[0] == printed[1] == printed[2]
