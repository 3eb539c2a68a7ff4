"""The watch over silent devices: who is told offline, which incidents that brings, and what our own outages do to it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django_tenants.utils import tenant_context

from alerting.models import Incident
from devices.models import Device, DeviceType, OfflineSeverity
from devices.services import record_activity, save_device
from protocols import device_watch
from protocols.device_watch import beat, watch_devices
from protocols.models import HeldBacklog, HeldMessage, ListenerState, OutageGap, PlatformPulse
from protocols.outages import record_door_pulse
from protocols.services import Heartbeat, record_heartbeat
from tenants.models import Tenant, Timer
from tests.conftest import MakeDevice

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
STEP = 15 * SECOND


class World:
    """Time, as the database's clock and one host's monotonic clock tell it, and what the platform does in it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = START
        self.monotonic = 1_000.0
        self.is_running = True
        self.talking: list[int] = []
        self.via = "mqtt"
        self.listener_state = "connected"
        patch.setattr(device_watch, "push_statuses", lambda schema, changes: self.told.extend(c.status for c in changes))
        self.told: list[str] = []

    def run(self, length: timedelta) -> None:
        """Let time pass; whoever is in `talking` sends every 15 s, and is heard while platform and listener run."""
        for _ in range(length // STEP):
            self.now += STEP
            self.monotonic += STEP.total_seconds()
            if not self.is_running:
                continue
            self.beat_listener()
            if self.listener_state == "connected":
                record_activity(seen=dict.fromkeys(self.talking, self.now), via=self.via)
            self.look()

    def beat_listener(self) -> None:
        record_heartbeat(heartbeat=Heartbeat("mqtt", "host", 1, self.listener_state, START, 0, 0, ""), now=self.now)

    def look(self) -> datetime:
        beat(now=self.now, monotonic_seconds=self.monotonic)
        return watch_devices(now=self.now)


@pytest.fixture
def world(in_acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def make_many(make_device: MakeDevice) -> Callable[[int], list[int]]:
    def make(count: int) -> list[int]:
        first = make_device("d-0")
        devices = [Device(key=f"d-{n}", name=f"Device {n}", device_type=first.device_type) for n in range(1, count)]
        return [first.id, *(device.id for device in Device.objects.bulk_create(devices))]

    return make


def statuses() -> dict[str, int]:
    found: dict[str, int] = {}
    for status in Device.objects.values_list("status", flat=True):
        found[status] = found.get(status, 0) + 1
    return found


def open_titles() -> list[str]:
    return list(Incident.objects.exclude(state="resolved").order_by("number").values_list("title", flat=True))


# --- One device


def test_a_silent_device_is_one_incident_that_ends_with_its_return(world: World, make_device: MakeDevice) -> None:
    pump, fan = make_device("pump-7", name="Pump 7"), make_device("fan-1", name="Fan 1")
    world.talking = [pump.id, fan.id]
    world.run(MINUTE)
    world.talking = [fan.id]
    world.run(6 * MINUTE)
    assert statuses() == {"online": 1, "stale": 1}
    assert open_titles() == []
    world.run(10 * MINUTE)
    assert statuses() == {"online": 1, "offline": 1}
    assert open_titles() == ["Pump 7 is silent"]
    world.run(10 * MINUTE)
    world.talking = [pump.id, fan.id]
    world.run(MINUTE)
    assert statuses() == {"online": 2}
    incident = Incident.objects.get()
    assert (incident.state, incident.severity, incident.device_id) == ("resolved", "medium", pump.id)
    assert world.told == ["online", "online", "stale", "offline", "online"]


def test_a_device_that_was_never_seen_pages_nobody(world: World, make_device: MakeDevice) -> None:
    make_device()
    world.run(20 * MINUTE)
    assert statuses() == {"never": 1}
    assert open_titles() == []


def test_a_type_may_ask_for_no_incident_or_for_an_urgent_one(world: World, make_device: MakeDevice) -> None:
    quiet, loud = make_device("quiet", type_name="Toy"), make_device("loud", type_name="Fire pump")
    DeviceType.objects.filter(name="Toy").update(offline_severity=OfflineSeverity.NONE)
    DeviceType.objects.filter(name="Fire pump").update(offline_severity=OfflineSeverity.CRITICAL)
    world.talking = [quiet.id, loud.id]
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    assert list(Incident.objects.values_list("severity", flat=True)) == ["critical"]
    DeviceType.objects.filter(name="Fire pump").update(offline_severity=OfflineSeverity.NONE)
    world.run(MINUTE)
    assert open_titles() == ["Pump 7 is silent"]


def test_a_device_that_is_switched_off_or_deleted_is_no_work_any_more(world: World, make_device: MakeDevice) -> None:
    pump, fan = make_device("pump-7"), make_device("fan-1")
    world.talking = [pump.id, fan.id]
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    assert len(open_titles()) == 2
    pump.refresh_from_db()
    pump.is_enabled = False
    save_device(device=pump)
    Device.objects.filter(pk=fan.pk).delete()
    world.run(MINUTE)
    assert open_titles() == []


# --- Our own outages


def test_a_restart_of_the_platform_raises_no_false_offline(world: World, make_many: Callable[[int], list[int]]) -> None:
    world.talking = make_many(1_000)
    world.run(MINUTE)
    world.is_running = False
    world.run(HOUR)
    world.is_running = True
    silent = world.talking.pop()
    world.look()  # the watch is up before the listener
    assert statuses() == {"online": 1_000}
    world.run(5 * MINUTE)
    assert statuses() == {"online": 1_000}
    world.run(20 * MINUTE)
    assert statuses() == {"online": 999, "offline": 1}
    assert [incident.device_id for incident in Incident.objects.all()] == [silent]
    world.talking.append(silent)
    world.run(MINUTE)
    assert statuses() == {"online": 1_000}
    assert open_titles() == []
    assert {gap.listener for gap in OutageGap.objects.all()} == {"", "mqtt"}


def test_a_device_that_was_offline_before_stays_so(world: World, make_device: MakeDevice) -> None:
    pump = make_device()
    world.talking = [pump.id]
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    world.is_running = False
    world.run(HOUR)
    world.is_running = True
    world.run(MINUTE)
    assert statuses() == {"offline": 1}
    assert len(open_titles()) == 1


def test_a_listener_that_is_down_is_one_incident_and_nobodys_silence(world: World, make_many: Callable[[int], list[int]]) -> None:
    world.talking = make_many(20)
    world.run(MINUTE)
    world.listener_state = "connecting"
    world.run(20 * MINUTE)
    assert statuses() == {"online": 20}
    assert open_titles() == ["The platform takes in no messages over mqtt: 20 devices cannot be heard"]
    world.listener_state = "connected"
    world.talking = []
    world.run(4 * MINUTE)
    assert statuses() == {"online": 20}
    assert open_titles() == []
    world.run(20 * MINUTE)
    assert statuses() == {"offline": 20}


def test_devices_of_other_listeners_are_watched_meanwhile(world: World, make_device: MakeDevice) -> None:
    pump = make_device()
    world.talking, world.via = [pump.id], "http"
    world.run(MINUTE)
    world.listener_state = "connecting"
    world.run(20 * MINUTE)
    assert statuses() == {"offline": 1}


def test_the_web_process_that_was_away_is_no_silence_of_devices_over_http(world: World, make_device: MakeDevice) -> None:
    pump = make_device()
    world.talking, world.via = [pump.id], "http"
    record_door_pulse(name="http", now=world.now + MINUTE)
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    assert statuses() == {"online": 1}
    assert ["over http:" in title for title in open_titles()] == [True]
    record_door_pulse(name="http", now=world.now)
    world.look()
    assert (statuses(), open_titles()) == ({"online": 1}, [])


# --- Clocks


@pytest.mark.parametrize("jump", [2 * MINUTE, 2 * HOUR, -2 * MINUTE])
def test_a_clock_that_is_set_is_noticed_and_makes_nobody_offline(
    world: World, make_many: Callable[[int], list[int]], jump: timedelta
) -> None:
    Device.objects.update(status="never")
    world.talking = make_many(5)
    DeviceType.objects.update(inactivity_timeout=30 * SECOND)
    world.run(MINUTE)
    world.now += jump
    for _ in range(6):
        world.run(STEP)
        assert statuses() == {"online": 5}
    pulse = PlatformPulse.objects.get()
    assert pulse.clock_set_seconds == jump.total_seconds()
    assert open_titles() == []


# --- Gateways


@pytest.fixture
def behind_gateway(make_device: MakeDevice) -> tuple[Device, list[int]]:
    """A gateway with ten devices connected via it."""
    gateway = make_device("gw", name="Gateway", type_name="Gateway")
    return gateway, [make_device(f"s-{n}", name=f"Sensor {n}", gateway=gateway).id for n in range(10)]


def test_a_silent_gateway_with_ten_devices_is_one_incident(world: World, behind_gateway: tuple[Device, list[int]]) -> None:
    gateway, children = behind_gateway
    DeviceType.objects.filter(name="Gateway").update(inactivity_timeout=8 * MINUTE)  # the devices are told offline before it is
    world.talking = [gateway.id, *children]
    world.run(MINUTE)
    world.talking = []
    world.run(40 * MINUTE)
    assert statuses() == {"offline": 11}
    [incident] = Incident.objects.all()
    assert incident.device_id == gateway.id
    assert incident.title.startswith("Gateway is silent, and ")
    assert incident.alerts.get().details["devices_behind"] == 10
    world.talking = [gateway.id, *children[:9]]
    world.run(MINUTE)
    assert open_titles() == []
    world.run(20 * MINUTE)
    assert [title.split(" is ")[0] for title in open_titles()] == ["Sensor 9"]


def test_a_gateway_that_never_sends_itself_is_heard_by_what_is_behind_it(world: World, behind_gateway: tuple[Device, list[int]]) -> None:
    gateway, children = behind_gateway
    world.talking = children
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    assert [(incident.device_id, incident.severity) for incident in Incident.objects.all()] == [(gateway.id, "medium")]
    world.talking = children
    world.run(MINUTE)
    assert open_titles() == []


def test_one_silent_device_behind_a_gateway_that_goes_on_is_its_own_incident(
    world: World, behind_gateway: tuple[Device, list[int]]
) -> None:
    gateway, children = behind_gateway
    world.talking = [gateway.id, *children]
    world.run(MINUTE)
    world.talking = [gateway.id, *children[1:]]
    world.run(20 * MINUTE)
    assert [incident.device_id for incident in Incident.objects.all()] == [children[0]]


def test_of_gateways_behind_a_gateway_the_outermost_is_blamed(
    world: World, behind_gateway: tuple[Device, list[int]], make_device: MakeDevice
) -> None:
    gateway, children = behind_gateway
    router = make_device("router", name="Router")
    Device.objects.filter(pk=gateway.pk).update(gateway=router)
    world.talking = [router.id, gateway.id, *children]
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    assert [incident.device_id for incident in Incident.objects.all()] == [router.id]


# --- When it looks


def test_it_looks_when_the_next_device_is_due_and_seldom_otherwise(world: World, make_device: MakeDevice) -> None:
    pump = make_device()
    assert world.look() == world.now + device_watch.LOOK_AT_LEAST_EVERY
    record_activity(seen={pump.id: world.now - 2 * MINUTE})
    assert world.look() == world.now + 3 * MINUTE + 5 * SECOND


def test_other_tenants_incidents_are_not_touched(world: World, make_device: MakeDevice, globex: Tenant) -> None:
    pump = make_device()
    world.talking = [pump.id]
    world.run(MINUTE)
    world.talking = []
    world.run(20 * MINUTE)
    with tenant_context(globex):
        assert watch_devices(now=world.now) == world.now + device_watch.LOOK_AT_LEAST_EVERY
        assert not Incident.objects.exists()
    assert ListenerState.objects.count() == 1
    assert not Timer.objects.filter(schema=globex.schema_name).exists()


def test_nobody_is_silent_while_messages_of_the_tenant_are_held(world: World, make_device: MakeDevice) -> None:
    world.talking = [make_device().pk]
    world.run(MINUTE)
    backlog = HeldBacklog.objects.create(tenant="acme", since=world.now, messages=1)
    world.talking = []
    for _ in range(20):
        HeldMessage.objects.create(tenant="acme", received_at=world.now, size=1, message=b"")
        world.run(MINUTE)
    assert world.told == ["online"]
    backlog.delete()
    world.run(MINUTE)
    assert world.told[-1] == "offline"


def test_a_backlog_that_nobody_can_store_hides_no_silence_that_came_after_it(world: World, make_device: MakeDevice) -> None:
    talking, silent = make_device("pump-7").pk, make_device("pump-8").pk
    world.talking = [talking, silent]
    world.run(MINUTE)
    HeldBacklog.objects.create(tenant="acme", since=world.now, messages=1)
    HeldMessage.objects.create(tenant="acme", received_at=world.now + 20 * MINUTE, size=1, message=b"")
    world.talking = []
    world.run(20 * MINUTE)
    world.talking = [talking]
    world.run(4 * MINUTE)
    assert set(world.told) == {"online"}, "what is held may be theirs"
    world.run(20 * MINUTE)
    assert Device.objects.get(pk=talking).status == "online"
    assert Device.objects.get(pk=silent).status == "offline"


def test_tables_that_nobody_mends_hide_silence_for_as_long_as_messages_are_kept(
    world: World, make_device: MakeDevice, settings: LazySettings
) -> None:
    settings.IIOT_HELD_MAX_AGE_DAYS = 1
    device = make_device("pump-7").pk
    world.talking = [device]
    world.run(MINUTE)
    HeldBacklog.objects.create(tenant="acme", since=world.now - timedelta(days=1), messages=1)
    HeldMessage.objects.create(tenant="acme", received_at=world.now + 20 * MINUTE, size=1, message=b"")
    world.talking = []
    world.run(20 * MINUTE)
    assert Device.objects.get(pk=device).status == "offline"


def test_what_is_held_of_another_tenant_hides_nothing(world: World, make_device: MakeDevice) -> None:
    device = make_device("pump-7").pk
    world.talking = [device]
    world.run(MINUTE)
    HeldBacklog.objects.create(tenant="globex", since=world.now, messages=1)
    HeldMessage.objects.create(tenant="globex", received_at=world.now + 20 * MINUTE, size=1, message=b"")
    world.talking = []
    world.run(20 * MINUTE)
    assert Device.objects.get(pk=device).status == "offline"
