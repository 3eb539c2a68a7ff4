"""Codes on labels: made once, used once."""

from datetime import UTC, datetime

import pytest
from django_tenants.utils import tenant_context

from devices.claim_services import claim_device, get_claimable, load_codes
from devices.errors import ClaimRefusedError
from devices.labels import claim_url, qr_svg
from devices.models import ClaimCode, Device, Site
from tenants.models import Tenant
from tests.conftest import MakeDevice

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_acme(in_acme: Tenant) -> None:
    """Every test runs inside acme."""


@pytest.fixture
def pump(make_device: MakeDevice) -> Device:
    return make_device("pump-7", is_enabled=False)


def code_of(device: Device) -> str:
    return load_codes(devices=[device], now=NOW)[device.pk]


def test_a_label_printed_again_has_the_same_code_which_is_not_readable_in_the_database(pump: Device, make_device: MakeDevice) -> None:
    code = code_of(pump)
    assert code_of(pump) == code
    assert code not in ClaimCode.objects.get().sealed_code
    assert code_of(make_device("other")) != code


def test_claiming_names_places_and_enables_once(pump: Device) -> None:
    code, hall = code_of(pump), Site.objects.create(name="Hall")
    claimed = claim_device(device_key="pump-7", code=code, name="Feed pump", site=hall, is_enabled=True, now=NOW)
    claimed.refresh_from_db()
    assert (claimed.name, claimed.site, claimed.is_enabled) == ("Feed pump", hall, True)
    with pytest.raises(ClaimRefusedError, match="used on 2026-03-01"):
        claim_device(device_key="pump-7", code=code, name="Mine", site=None, is_enabled=True, now=NOW)
    assert load_codes(devices=[pump], now=NOW) == {}


def test_a_wrong_code_and_an_unknown_device_look_the_same(pump: Device, make_device: MakeDevice, globex: Tenant) -> None:
    code = code_of(pump)
    make_device("bare")
    messages = set()
    for device_key, wrong in (("pump-7", "x"), ("pump-7", ""), ("ghost", code), ("bare", code), ("bare", ""), ("pump-7", "ü")):
        with pytest.raises(ClaimRefusedError) as caught:
            get_claimable(device_key=device_key, code=wrong)
        messages.add(caught.value.detail)
    with tenant_context(globex), pytest.raises(ClaimRefusedError):
        get_claimable(device_key="pump-7", code=code)
    assert len(messages) == 1


def test_a_code_that_the_present_secret_key_cannot_open_is_replaced(pump: Device) -> None:
    code = code_of(pump)
    ClaimCode.objects.update(sealed_code="v1.AAAA")
    assert code_of(pump) != code


def test_a_qr_code_is_svg_without_style_and_script() -> None:
    svg = qr_svg(claim_url(base_url="https://plant.example", tenant="acme", device_key="pump-7", code='x"><script>'))
    assert svg.startswith("<svg")
    assert "style" not in svg
    assert "script" not in svg
