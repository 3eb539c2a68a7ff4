"""A tenant whose tables fail stops nobody, and loses nothing."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import LazySettings
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone
from django_tenants.utils import tenant_context
from msgspec.structs import replace

from devices.models import Device
from iiot_site.lib import clock
from iiot_site.lib.lock_waits import impatience
from protocols import pipeline, putting_back, storing
from protocols.holding import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, LOCK_SECONDS, RETRY_LOCK_SECONDS
from protocols.models import HeldBacklog, HeldMessage, UnroutedCount
from protocols.pipeline import TOGETHER_LOCK_SECONDS
from protocols.progress import Progress
from protocols.putting_back import put_back_all
from protocols.types import BatchOutcome, Delivery, RawMessage
from protocols.unnumbered_deliveries import CONSUMER_START
from telemetry.ledger import load_ledger
from telemetry.models import Reading
from telemetry.services import store_readings
from telemetry.types import StoreOutcome
from tenants.models import Tenant, User
from tenants.selectors import clear_tenant_cache, get_active_tenant
from tenants.services import set_suspended
from tests.conftest import MakeBrowser
from tests.protocols.conftest import MakeMessage
from tests.protocols.trouble import Door, readings_away, values_of
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_tenant_without_its_table_stops_no_other_and_loses_nothing(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    for_acme, for_globex = make_message('{"temperature": 1}', packet_id=1), make_message('{"temperature": 2}', tenant="globex", packet_id=2)
    with readings_away(acme):
        outcome = door.take(for_acme, for_globex)
        assert (outcome.stored, outcome.held, outcome.refusals) == (1, 1, [])
        assert values_of(globex) == [2.0]
        assert put_back_all() == 0, "it cannot be stored yet"
        backlog = HeldBacklog.objects.get()
        assert (backlog.tenant, backlog.messages) == ("acme", 1)
        assert "telemetry_reading" in backlog.last_error
    assert "messages of acme are held" in door.errors[0]
    assert put_back_all() == 1
    assert values_of(acme) == [1.0]
    assert not HeldMessage.objects.exists()
    assert not HeldBacklog.objects.exists()
    with tenant_context(acme):
        (row,) = load_ledger(start=timezone.now() - timedelta(hours=1), end=timezone.now() + timedelta(hours=1), bucket="day")
    assert (row.listener, row.received, row.stored) == ("mqtt", 1, 1)


def test_what_was_held_for_a_former_tenant_of_the_same_name_goes_with_it(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    """Another acme has the schema's name, and here even the devices, of the first."""
    with readings_away(acme):
        assert door.take(make_message('{"secret_of_old": 1}'), make_message('{"secret_of_old": 2}')).held == 2
        HeldMessage.objects.update(owner=uuid4())
        assert door.take(make_message('{"temperature": 3}')).held == 1
    assert put_back_all() == 1
    assert values_of(acme) == [3.0]
    assert not HeldMessage.objects.exists()
    assert not HeldBacklog.objects.exists()
    assert [(row.listener, row.messages) for row in UnroutedCount.objects.all()] == [("mqtt", 2)]


def test_a_tenant_that_is_not_active_yet_rids_itself_of_a_former_ones_messages(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"secret_of_old": 1}'))
    assert HeldMessage.objects.get().owner == acme.pk
    HeldMessage.objects.update(owner=uuid4())
    Tenant.objects.filter(pk=acme.pk).update(status=Tenant.Status.CREATING)
    assert put_back_all() == 0
    assert not HeldMessage.objects.exists()


def wait_for_locks(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{seconds * 1000:.0f}ms'")


@pytest.fixture
def impatient() -> Iterator[None]:
    """Give up on locks soon, as a listener does after a longer while."""
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(options, "options", f"{options.get('options', '')} -c lock_timeout=200")
        yield
    connection.close()


@pytest.mark.usefixtures("impatient")
def test_a_table_locked_by_another_is_waited_for_only_so_long(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with psycopg.connect(**_login()) as other:
        other.execute(f"LOCK TABLE {acme.schema_name}.telemetry_reading IN ACCESS EXCLUSIVE MODE")
        outcome = door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}', tenant="globex"))
        assert (outcome.stored, outcome.held) == (1, 1)
        wait_for_locks(2 * WAIT_SECONDS)
        started = time.monotonic()
        assert door.take(make_message('{"temperature": 3}')).held == 1
        assert time.monotonic() - started < WAIT_SECONDS, "nobody waits for the lock again before the pause is over"
    assert put_back_all() == 2
    assert values_of(acme) == [1.0, 3.0]
    assert values_of(globex) == [2.0]


@pytest.fixture
def many_locked(acme: Tenant) -> Iterator[list[str]]:
    """Tenants of whose tables the first one that anybody asks is locked."""
    slugs = [f"locked-{number}" for number in range(30)]
    tenants = [Tenant(slug=slug, name=slug, schema_name=slug.replace("-", "_"), status=Tenant.Status.ACTIVE) for slug in slugs]
    Tenant.objects.bulk_create(tenants)
    with psycopg.connect(**_login()) as other:
        for tenant in tenants:
            other.execute(f"CREATE SCHEMA {tenant.schema_name}")
            other.execute(f"CREATE TABLE {tenant.schema_name}.devices_device (LIKE {acme.schema_name}.devices_device)")
        other.commit()
        other.execute("LOCK TABLE " + ", ".join(f"{tenant.schema_name}.devices_device" for tenant in tenants))
        yield slugs


def test_many_locked_tenants_share_the_patience_that_one_has(
    door: Door,
    globex: Tenant,
    pumps: dict[str, Device],
    many_locked: list[str],
    make_message: MakeMessage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float | None] = []

    def wait_shortly(seconds: float | None) -> AbstractContextManager[None]:
        waits.append(seconds)
        return impatience((seconds or LOCK_SECONDS) / 20)

    def send(value: int) -> BatchOutcome:
        waits.clear()
        locked = [make_message('{"temperature": 1}', tenant=slug) for slug in many_locked]
        return door.take(*locked, make_message(f'{{"temperature": {value}}}', tenant="globex"))

    monkeypatch.setattr(pipeline, "impatience", wait_shortly)
    outcome = send(1)
    assert (outcome.stored, outcome.held) == (1, 30)
    assert waits[:2] == [TOGETHER_LOCK_SECONDS, None]
    assert sum(seconds or LOCK_SECONDS for seconds in waits) < 15
    for tried in (1, 2, 3):
        door.seconds += FIRST_PAUSE_SECONDS
        outcome = send(1 + tried)
        assert (outcome.stored, outcome.held) == (1, 30)
        assert waits == [RETRY_LOCK_SECONDS, pytest.approx(RETRY_LOCK_SECONDS)], "one of those in trouble, and globex"
    assert values_of(globex) == [1.0, 2.0, 3.0, 4.0]


def test_a_tenant_that_is_well_again_is_waited_for_as_before(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    def note(seconds: float | None) -> AbstractContextManager[None]:
        waits.append(seconds)
        return impatience(seconds)

    monkeypatch.setattr(pipeline, "impatience", note)
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))
    door.seconds += FIRST_PAUSE_SECONDS
    for _ in range(2):
        door.take(make_message('{"temperature": 2}'), make_message('{"temperature": 2}', tenant="globex"))
    assert waits == [None, RETRY_LOCK_SECONDS, None, TOGETHER_LOCK_SECONDS]


def test_a_tenant_is_tried_again_after_a_pause_that_grows(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        for pause in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS):
            tries = len(door.errors)
            assert door.take(make_message('{"temperature": 1}')).held == 1
            assert len(door.errors) == tries + 1
            door.seconds += pause - 0.1
            assert door.take(make_message('{"temperature": 1}')).held == 1
            assert len(door.errors) == tries + 1, "within the pause it is not tried"
            door.seconds += 0.2
    door.seconds += LAST_PAUSE_SECONDS
    assert door.take(make_message('{"temperature": 9}')).stored == 1


def test_a_copy_of_a_held_message_is_not_held_twice(door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage) -> None:
    with readings_away(acme):
        assert door.take(make_message('{"temperature": 1}', packet_id=5)).held == 1
        assert door.take(make_message('{"temperature": 1}', packet_id=5, dup=True)).held == 0
    put_back_all()
    assert values_of(acme) == [1.0]


def test_messages_without_a_time_keep_theirs_apart(door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage) -> None:
    first = [make_message(f'{{"temperature": {value}}}') for value in range(50)]
    with readings_away(acme):
        assert door.take(*first).held == 50
    door.seconds = LAST_PAUSE_SECONDS
    assert door.take(*(make_message(f'{{"temperature": {value}}}') for value in range(50, 60))).stored == 10
    assert put_back_all() == 50
    assert sorted(value for value in values_of(acme) if value is not None) == list(range(60))


def test_what_was_held_keeps_the_time_of_its_receipt(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "clock_offset", lambda: timedelta(minutes=2))
    received_at = timezone.now() - timedelta(minutes=7)
    with readings_away(acme):
        door.take(replace(make_message('{"temperature": 1}'), received_at=received_at))
    put_back_all()
    with tenant_context(acme):
        moved = Reading.objects.get().ts - received_at
    assert abs(moved - timedelta(minutes=2)) < timedelta(seconds=20), "by the database's clock, not twice put on it"


def test_what_could_not_be_put_back_at_once_keeps_the_time_of_its_receipt(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    messages = [make_message(f'{{"temperature": {value}}}', age=timedelta(minutes=9 - value)) for value in range(10)]
    with readings_away(acme):
        door.take(*messages)
        assert put_back_all() == put_back_all() == 0
    put_back_all()
    with tenant_context(acme):
        times = list(Reading.objects.order_by("value").values_list("ts", flat=True))
    assert len(times) == 10
    assert all(abs(ts - message.received_at) < timedelta(seconds=20) for ts, message in zip(times, messages, strict=True))


def test_a_hold_whose_confirmation_was_lost_brings_each_value_once(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress()
    with readings_away(acme):
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "finish", _lose_confirmation)
            with pytest.raises(OperationalError):
                door.take(make_message('{"temperature": 1}'), progress=progress)
        door.take(make_message('{"temperature": 1}'), progress=progress)
    put_back_all()
    assert values_of(acme) == [1.0]


def test_a_connection_that_breaks_at_the_commit_is_no_tenants_fault(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq finds out by itself that it broke, so there is no SQLSTATE; and the database answers again at once."""

    def lose(*_: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly") from psycopg.OperationalError("server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "finish", lose)
        with pytest.raises(OperationalError, match="closed"):
            door.take(make_message('{"temperature": 1}', packet_id=1))
    assert values_of(acme) == [1.0]
    assert not HeldMessage.objects.exists()
    assert door.take(make_message('{"temperature": 2}', packet_id=2)).stored == 1


def test_all_copies_of_a_held_message_are_known_over_a_broker_without_numbers(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    def deliver(consumer: str, count: int) -> RawMessage:
        delivery = Delivery(f"{CONSUMER_START}{consumer}", count, 0, count > 1, is_numbered=False)
        return replace(make_message('{"temperature": 1}'), delivery=delivery)

    with readings_away(acme):
        assert [door.take(deliver(*copy)).held for copy in (("a", 1), ("b", 2), ("c", 3))] == [1, 0, 0]
    put_back_all()
    assert values_of(acme) == [1.0]


def test_a_copy_that_comes_after_all_was_put_back_leaves_no_backlog(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}', packet_id=5))
    put_back_all()
    assert door.take(make_message('{"temperature": 1}', packet_id=5, dup=True)).held == 0, "the listener does not try yet"
    assert not HeldBacklog.objects.exists()


def test_messages_can_be_held_while_others_are_put_back(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))

    def process(**arguments: Any) -> BatchOutcome:
        with psycopg.connect(**_login()) as other:
            other.execute("SET lock_timeout = '200ms'")
            other.execute("SELECT 1 FROM public.protocols_heldbacklog WHERE tenant = 'acme' FOR UPDATE")
        return pipeline.process_messages(**arguments)

    monkeypatch.setattr(putting_back, "process_messages", process)
    assert put_back_all() == 1


def test_a_held_message_that_cannot_be_read_keeps_no_other_tenants_from_being_stored(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme), readings_away(globex):
        door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}', tenant="globex"))
    HeldMessage.objects.filter(tenant="acme").update(message=b"?")
    assert put_back_all() == 1
    assert values_of(globex) == [2.0]
    assert HeldBacklog.objects.get().last_error


def test_what_is_held_stays_where_the_tenant_is_suspended_in_the_middle(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with readings_away(acme):
        door.take(*(make_message(f'{{"temperature": {value}}}') for value in range(3)))
    monkeypatch.setattr(putting_back, "AT_ONCE", 1)
    monkeypatch.setattr(putting_back, "hand_on_now", lambda _: set_suspended(tenant=acme, is_suspended=True))
    assert put_back_all() == 1
    assert HeldMessage.objects.count() == 2


def test_what_is_held_stays_where_this_process_has_not_heard_that_the_tenant_is_active_again(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'), replace(make_message("online"), channel="status"))
    set_suspended(tenant=acme, is_suspended=True)
    assert get_active_tenant("acme") is None
    Tenant.objects.update(status=Tenant.Status.ACTIVE)  # as another process does it
    assert put_back_all() == 0
    assert (HeldMessage.objects.count(), UnroutedCount.objects.count()) == (HeldBacklog.objects.get().messages, 0)
    clear_tenant_cache()
    assert put_back_all() >= 1
    assert values_of(acme) == [1.0]


def test_the_pause_grows_where_only_states_fail(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("…") from psycopg.errors.LockNotAvailable()

    monkeypatch.setattr(pipeline, "take_in", fail)
    batch = make_message('{"temperature": 1}'), replace(make_message("online"), channel="status")
    for tries, seconds in enumerate((0, FIRST_PAUSE_SECONDS + 1, FIRST_PAUSE_SECONDS + 1, FIRST_PAUSE_SECONDS + 1), start=1):
        door.seconds += seconds
        door.take(*batch)
        assert len(door.errors) == (1, 2, 2, 3)[tries - 1]


def test_the_part_that_was_committed_before_the_trouble_is_not_stored_again(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def store(*, readings: Any, now: datetime) -> StoreOutcome:
        calls.append(len(readings))
        if len(calls) == 1:
            raise ValueError("the first half and the second are tried apart")
        if len(calls) == 3:
            raise DatabaseError("and the second half fails for no fault of its data")
        return store_readings(readings=readings, now=now)

    monkeypatch.setattr(storing, "store_readings", store)
    outcome = door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}'))
    assert (outcome.stored, outcome.held) == (1, 1)
    assert put_back_all() == 1
    assert values_of(acme) == [1.0, 2.0]


def test_trouble_of_the_database_is_no_tenants_fault(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in ("57P01", "53100", "40P01", "08006"):

        def fail(state: str = state, **_: Any) -> StoreOutcome:
            raise OperationalError("…") from psycopg.errors.lookup(state)()

        monkeypatch.setattr(storing, "store_readings", fail)
        with pytest.raises(OperationalError):
            door.take(make_message('{"temperature": 1}'))
    assert not HeldMessage.objects.exists()


def test_a_batch_that_is_tried_again_gives_what_has_no_time_the_same_time(
    door: Door, acme: Tenant, globex: Tenant, pumps: dict[str, Device], make_message: MakeMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of the first try succeeded, but its confirmation was lost."""
    progress = Progress()
    message = make_message('{"temperature": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "finish", _lose_confirmation)
        with pytest.raises(OperationalError):
            door.take(message, progress=progress)
    assert values_of(acme) == [1.0]
    outcome = door.take(message, progress=progress)
    assert (outcome.stored, outcome.duplicates) == (0, 1)
    assert values_of(acme) == [1.0]


def _lose_confirmation(*_: Any) -> None:
    raise OperationalError("server closed the connection") from psycopg.errors.lookup("08006")()


def test_beyond_its_share_a_tenants_messages_are_refused_and_counted(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage, settings: LazySettings
) -> None:
    settings.IIOT_HELD_MAX_BYTES = 1
    with readings_away(acme):
        outcome = door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}'))
    assert outcome.held == 1
    assert [(refusal.index, refusal.reason) for refusal in outcome.refusals] == [(1, "tenant_unavailable")]
    assert outcome.refused == {1}
    assert sum(UnroutedCount.objects.values_list("messages", flat=True)) == 1


def test_a_flood_is_cut_off_before_it_is_held(door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage) -> None:
    with readings_away(acme):
        outcome = door.take(make_message('{"temperature": 1}'), make_message('{"temperature": 2}'), uncovered=frozenset({1}))
    assert outcome.held == 1
    assert [(refusal.index, refusal.reason) for refusal in outcome.refusals] == [(1, "rate_limited")]


def test_what_is_held_of_a_suspended_tenant_waits_until_it_is_active(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))
    set_suspended(tenant=acme, is_suspended=True)
    assert put_back_all() == 0
    set_suspended(tenant=acme, is_suspended=False)
    assert put_back_all() == 1
    assert values_of(acme) == [1.0]


def test_answers_and_states_of_a_tenant_in_trouble_are_held_too(
    door: Door, acme: Tenant, pumps: dict[str, Device], make_message: MakeMessage
) -> None:
    online = replace(make_message("online"), channel="status")
    with readings_away(acme):
        assert door.take(make_message('{"temperature": 1}'), online).held == 2
    assert put_back_all() == 2
    with tenant_context(acme):
        assert Device.objects.get().connection == Device.Connection.ONLINE


@pytest.mark.usefixtures("pumps")
def test_people_see_what_is_held_of_their_own_tenant(
    door: Door, acme: Tenant, make_message: MakeMessage, browser: MakeBrowser, acme_operator: User, globex_admin: User
) -> None:
    with readings_away(acme):
        door.take(make_message('{"temperature": 1}'))
        own = browser(acme_operator).get("/t/acme/listeners").content.decode()
        other = browser(globex_admin).get("/t/globex/listeners").content.decode()
    assert "1 messages are held" in own
    assert "telemetry_reading" not in own, "the error is for who runs the platform"
    assert "are held" not in other


def _login() -> dict[str, Any]:
    config = connection.settings_dict
    return {
        "host": config["HOST"],
        "port": config["PORT"],
        "user": config["USER"],
        "password": config["PASSWORD"] or None,
        "dbname": config["NAME"],
    }
