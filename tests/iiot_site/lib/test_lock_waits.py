"""How long processes wait for locks."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import ProgrammingError, connection, connections

from iiot_site.celery import let_workers_wait
from iiot_site.lib.lock_waits import impatience, patience

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _same_options_afterwards() -> Iterator[None]:
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    yield
    options.clear()
    options.update(before)
    connection.close()


def lock_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return str(cursor.fetchone()[0])


def test_a_worker_waits_two_seconds_but_where_it_must_not_give_up() -> None:
    assert lock_timeout() == "0"
    let_workers_wait(SimpleNamespace(broker_transport_options={}))
    connection.close()
    assert lock_timeout() == "2s"
    with patience():
        assert lock_timeout() == "0"
    assert lock_timeout() == "2s"


def test_a_process_waits_less_for_those_who_are_known_to_be_locked() -> None:
    let_workers_wait(SimpleNamespace(broker_transport_options={}))
    connection.close()
    with impatience(None):
        assert lock_timeout() == "2s"
    with impatience(0.2):
        assert lock_timeout() == "200ms"
    assert lock_timeout() == "2s"
    with pytest.raises(ProgrammingError), impatience(0.2), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM missing")
    assert lock_timeout() == "2s"
