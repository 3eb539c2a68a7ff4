"""The listener against a real broker: nothing acknowledged before the commit, nothing lost, a clean end."""

import json
import time
from typing import Any

import paho.mqtt.client as paho
import pytest
from django.db import OperationalError
from django_tenants.utils import tenant_context

from protocols import writer
from protocols.deliveries import last_delivery_count
from protocols.models import DeliveryWindow, ListenerState
from protocols.pipeline import process_messages
from protocols.progress import Progress
from telemetry.models import Reading, RejectedMessage
from tenants.models import Tenant
from tests.conftest import MakeDevice
from tests.protocols.mqtt.conftest import RunListener
from tests.waiting import WAIT_SECONDS, wait_until

TOPIC = "t/acme/pump-7/telemetry"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pump(acme: Tenant, make_device: MakeDevice) -> None:
    with tenant_context(acme):
        make_device("pump-7")


def values(tenant: Tenant) -> list[float]:
    with tenant_context(tenant):
        return list(Reading.objects.order_by("ts").values_list("value", flat=True))


def publish(client: paho.Client, *numbers: int) -> None:
    for n in numbers:
        client.publish(TOPIC, json.dumps({"temperature": n}), qos=1).wait_for_publish(WAIT_SECONDS)


def test_messages_are_stored_in_the_order_they_came(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    with run_listener():
        publish(platform, *range(20))
        wait_until(lambda: len(values(acme)) == 20)
    assert values(acme) == list(range(20))
    state = ListenerState.objects.get()
    assert (state.name, state.state, state.messages, state.rejected) == ("mqtt", "stopped", 20, 0)


def test_what_came_while_no_listener_ran_is_stored_later(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    with run_listener():
        pass
    publish(platform, 1, 2, 3)
    with run_listener():
        wait_until(lambda: len(values(acme)) == 3)
    assert values(acme) == [1, 2, 3]


def test_a_retained_message_is_one_reading_however_often_somebody_subscribes(
    acme: Tenant, platform: paho.Client, run_listener: RunListener
) -> None:
    with run_listener():
        platform.publish(TOPIC, json.dumps({"temperature": 1}), qos=1, retain=True).wait_for_publish(WAIT_SECONDS)
        wait_until(lambda: values(acme) == [1])
    with run_listener():
        publish(platform, 2)
        wait_until(lambda: 2 in values(acme))
    platform.publish(TOPIC, b"", qos=1, retain=True).wait_for_publish(WAIT_SECONDS)
    assert values(acme) == [1, 2]


def test_nothing_is_acknowledged_before_it_is_committed(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def fail(**batch: Any) -> Any:
        attempts.append(len(batch["messages"]))
        raise OperationalError("the database is away")

    monkeypatch.setattr(writer, "process_messages", fail)
    with run_listener() as running:
        publish(platform, 1, 2, 3)
        wait_until(lambda: len(attempts) > 1)
        assert values(acme) == []
        assert "away" in running.last_error
        monkeypatch.setattr(writer, "process_messages", process_messages)
        wait_until(lambda: len(values(acme)) == 3)
    with run_listener():  # all was acknowledged in the end: nothing comes again
        time.sleep(0.3)
    assert values(acme) == [1, 2, 3]


def test_a_listener_that_ends_before_it_could_store_leaves_the_messages_to_the_next(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "DRAIN_SECONDS", 0.0)

    def fail(**_: Any) -> Any:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "process_messages", fail)
        with run_listener():
            publish(platform, 1, 2, 3)
            time.sleep(0.2)
    with run_listener():
        wait_until(lambda: len(values(acme)) == 3)
    assert sorted(values(acme)) == [1, 2, 3]


def test_a_commit_whose_confirmation_got_lost_is_not_stored_again(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def commit_and_fail_once(**batch: Any) -> Any:
        is_first = not attempts
        attempts.append(process_messages(**batch | ({"progress": Progress()} if is_first else {})))
        if is_first:
            raise OperationalError("server closed the connection unexpectedly")
        return attempts[-1]

    monkeypatch.setattr(writer, "process_messages", commit_and_fail_once)
    with run_listener():
        publish(platform, 1)
        wait_until(lambda: len(attempts) == 2)
    assert (attempts[1].stored, attempts[1].duplicates) == (0, 1)
    assert values(acme) == [1]


def test_what_was_stored_but_not_acknowledged_comes_again_and_is_stored_once(
    acme: Tenant, platform: paho.Client, run_listener: RunListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been killed between commit and acknowledgement, twice."""
    for expected in (300, 450):
        with monkeypatch.context() as patch, run_listener() as running:
            patch.setattr(running._client, "ack", lambda *_: None)
            for n in range(300 if expected == 300 else 150):
                platform.publish(TOPIC, json.dumps({"temperature": n % 7}), qos=1)
            wait_until(lambda expected=expected: len(values(acme)) == expected)  # type: ignore[misc]  # bound at once
    with run_listener():
        publish(platform, 99)
        wait_until(lambda: 99 in values(acme))
    assert len(values(acme)) == 451


def test_bad_messages_do_not_stop_it(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    bad = [b"", b"\x00\xff", b"{", b"[" * 5000, b'{"temperature": "hot"}', b'{"a": 1, "a": 2}']
    with run_listener():
        for payload in bad:
            platform.publish(TOPIC, payload, qos=1).wait_for_publish(WAIT_SECONDS)
        platform.publish("t/nobody/pump-7/telemetry", b'{"temperature": 1}', qos=1).wait_for_publish(WAIT_SECONDS)
        platform.publish(TOPIC, b'{"temperature": 6}', qos=0)
        publish(platform, 7)
        wait_until(lambda: values(acme) == [6, 7])
    with tenant_context(acme):
        assert RejectedMessage.objects.count() == len(bad)
    assert ListenerState.objects.get().rejected == len(bad) + 1


def test_the_delivery_count_goes_on_after_a_restart(acme: Tenant, client_id: str, platform: paho.Client, run_listener: RunListener) -> None:
    for start in (0, 5):
        with run_listener():
            publish(platform, *range(start, start + 5))
            wait_until(lambda expected=start + 5: len(values(acme)) == expected)  # type: ignore[misc]  # bound at once
    assert last_delivery_count(consumer=client_id) == 10
    assert DeliveryWindow.objects.exists()


def test_acknowledgements_do_not_pile_up_behind_the_commits(acme: Tenant, platform: paho.Client, run_listener: RunListener) -> None:
    with run_listener() as running:
        publish(platform, *range(50))
        wait_until(lambda: len(values(acme)) == 50)
        wait_until(lambda: len(running._client._out_packet) == 0, seconds=20)  # before the next ping takes them along
