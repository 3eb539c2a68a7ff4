"""What is stored over HTTP is handed on by a thread of the web process; where there is none, at once."""

import threading
from datetime import datetime

import pytest

from protocols import handoff
from protocols.handoff import Committed
from protocols.invalidation import ChangeFollower
from protocols.resolution import clear_caches
from protocols.web_door import WebDoor


def test_what_is_stored_is_handed_on_in_a_thread_and_all_of_it_before_the_process_ends(
    monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    handed: list[tuple[int, str]] = []
    monkeypatch.setattr(handoff, "_show", lambda batch: handed.append((batch.message_count, threading.current_thread().name)))
    monkeypatch.setattr(ChangeFollower, "start", lambda _: None)
    door = WebDoor()
    door.hand_on(Committed("t_acme", (), 1, now))
    door.open()
    door.open()
    for number in (2, 3):
        door.hand_on(Committed("t_acme", (), number, now))
    door.close()
    door.close()
    door.hand_on(Committed("t_acme", (), 4, now))
    own = threading.current_thread().name
    assert handed == [(1, own), (2, "hand-off"), (3, "hand-off"), (4, own)]
    clear_caches()
