"""Messages, and what the pipeline remembers between them."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count

import pytest
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.models import Device
from protocols import deliveries, receipt_times
from protocols.resolution import clear_caches
from protocols.types import Delivery, RawMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.trouble import Door

MakeMessage = Callable[..., RawMessage]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    clear_caches()
    receipt_times._last.clear()
    deliveries._recorded_until.clear()
    yield
    clear_caches()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def make_message(now: datetime) -> MakeMessage:
    """Return `make_message(payload, device="pump-7", tenant="acme", packet_id=None, dup=False, age=0)`."""
    counter = count(1)

    def make(
        payload: bytes | str,
        *,
        device: str = "pump-7",
        tenant: str = "acme",
        packet_id: int | None = None,
        dup: bool = False,
        delivery_count: int | None = None,
        age: timedelta = timedelta(),
    ) -> RawMessage:
        delivery = None
        if packet_id is not None:
            delivery = Delivery("listener", delivery_count or next(counter), packet_id, dup)
        raw = payload.encode() if isinstance(payload, str) else payload
        return RawMessage(tenant, device, raw, now - age, "mqtt", f"t/{tenant}/{device}/telemetry", delivery)

    return make


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def pumps(acme: Tenant, globex: Tenant, make_device: MakeDevice) -> dict[str, Device]:
    found = {}
    for tenant in (acme, globex):
        with tenant_context(tenant):
            found[tenant.slug] = make_device("pump-7")
    return found
