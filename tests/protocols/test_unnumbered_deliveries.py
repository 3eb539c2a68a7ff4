"""A broker without stable numbers sends again: nothing is stored twice, and equal messages stay messages of their own."""

from collections.abc import Callable
from datetime import datetime

import pytest

from protocols.models import DeliveryWindow
from protocols.pipeline import process_messages
from protocols.types import BatchOutcome, Delivery, RawMessage
from protocols.unnumbered_deliveries import CONSUMER_START, forget_confirmed, forget_older, next_count
from telemetry.models import Reading
from tenants.models import Tenant
from tests.conftest import MakeDevice

Deliver = Callable[..., RawMessage]


@pytest.fixture(autouse=True)
def _pump(in_acme: Tenant, make_device: MakeDevice) -> None:
    make_device("pump-7")


@pytest.fixture
def deliver(now: datetime) -> Deliver:
    """Return `deliver(value, session=1, again=False, retry_of=None, message_id="")`; each call is a new delivery."""
    count = next_count(0)

    def make(
        value: float, *, session: int = 1, again: bool = False, retry_of: RawMessage | None = None, message_id: str = ""
    ) -> RawMessage:
        nonlocal count
        count += 1
        number = retry_of.delivery.count if retry_of and retry_of.delivery else count
        delivery = Delivery(f"{CONSUMER_START}x/{session}", number, number % 1000, again, bool(retry_of), False, message_id)
        return RawMessage("acme", "pump-7", b'{"temperature": %d}' % value, now, "amqp", "acme.pump-7.telemetry", delivery)

    return make


def process(now: datetime, *messages: RawMessage) -> BatchOutcome:
    return process_messages(messages=messages, now=now, hand_on=lambda _: None)


def values() -> list[float]:
    return sorted(Reading.objects.values_list("value", flat=True))


def test_a_copy_is_stored_once_however_often_it_comes(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(1), deliver(2))
    for session in (2, 3):
        outcome = process(now, deliver(1, session=session, again=True), deliver(2, session=session, again=True))
        assert (outcome.stored, outcome.duplicates) == (0, 2)
    assert values() == [1, 2]


def test_what_was_delivered_but_not_committed_is_stored_when_it_comes_again(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(1))
    process(now, deliver(1, session=2, again=True), deliver(2, session=2, again=True), deliver(3, session=2))
    assert values() == [1, 2, 3]


def test_each_copy_needs_a_committed_message_of_its_own(deliver: Deliver, now: datetime) -> None:
    """Three equal messages were in flight and two of them committed: one of the three that come again is new."""
    process(now, deliver(5), deliver(5))
    outcome = process(now, *(deliver(5, session=2, again=True) for _ in range(3)))
    assert (outcome.stored, outcome.duplicates) == (1, 2)
    assert values() == [5, 5, 5]


def test_an_equal_message_that_is_new_is_never_a_copy(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(5))
    process(now, deliver(5), deliver(5, session=2))
    assert values() == [5, 5, 5]


def test_once_the_broker_has_the_acknowledgement_nothing_is_a_copy(deliver: Deliver, now: datetime) -> None:
    first = deliver(5)
    process(now, first)
    assert first.delivery is not None
    forget_confirmed(consumer=first.delivery.consumer, until=first.delivery.count)
    process(now, deliver(5, session=2, again=True))
    assert values() == [5, 5]


def test_what_another_connection_committed_is_not_forgotten_with_it(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(5))
    process(now, later := deliver(6, session=2))
    assert later.delivery is not None
    forget_confirmed(consumer=later.delivery.consumer, until=later.delivery.count)
    process(now, deliver(5, session=2, again=True))
    assert values() == [5, 6]


def test_both_in_one_batch_are_one(deliver: Deliver, now: datetime) -> None:
    """The buffer still held what a broken connection had brought."""
    process(now, deliver(1), deliver(2), deliver(1, session=2, again=True), deliver(2, session=2, again=True), deliver(2, session=2))
    assert values() == [1, 2, 2]
    process(now, deliver(1, session=3, again=True), deliver(2, session=3, again=True))
    assert values() == [1, 2, 2]


def test_a_batch_tried_again_is_only_a_copy_of_itself(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(5))
    second = deliver(5)
    process(now, deliver(5, retry_of=second))  # the first try did not commit; the equal message before it is another
    assert values() == [5, 5]
    process(now, deliver(5, retry_of=second))  # it had committed, and its confirmation was lost
    assert values() == [5, 5]


def test_a_message_id_tells_copies_from_equals(deliver: Deliver, now: datetime) -> None:
    process(now, deliver(5, message_id="a"))
    process(now, deliver(5, session=2, again=True, message_id="b"), deliver(5, session=2, again=True, message_id="a"))
    assert values() == [5, 5]


def test_old_memories_go(deliver: Deliver, now: datetime) -> None:
    process(now, message := deliver(5))
    assert message.delivery is not None
    forget_older(than=message.delivery.count - 1)
    assert DeliveryWindow.objects.exists()
    forget_older(than=message.delivery.count)
    assert not DeliveryWindow.objects.exists()
