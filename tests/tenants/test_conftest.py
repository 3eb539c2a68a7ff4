"""The test database itself: two tenants, clean after every test."""

import pytest

from devices.models import Device
from tenants.connection import connection
from tenants.models import Role, Tenant
from tests.conftest import MakeDevice


def test_the_tenants_have_schemas_and_the_roles_are_seeded(acme: Tenant, globex: Tenant, in_acme: Tenant) -> None:
    assert connection.schema_name == "t_acme"
    assert Device.objects.count() == 0
    assert set(Role.objects.filter(tenant=None).values_list("name", flat=True)) == {"admin", "developer", "operator", "viewer", "auditor"}


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_device_of_one_test_is_gone_in_the_next(in_acme: Tenant, make_device: MakeDevice, attempt: int) -> None:
    make_device("pump-7")
    assert Device.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", [1, 2])
def test_the_same_holds_for_tests_with_real_transactions(in_acme: Tenant, make_device: MakeDevice, attempt: int) -> None:
    make_device("pump-7")
    assert Device.objects.count() == 1
