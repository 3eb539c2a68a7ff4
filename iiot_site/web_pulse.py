"""The web process says every few seconds that it takes in messages over HTTP, as listeners do for their protocols."""

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection

from iiot_site.lib.clock import database_now
from protocols.outages import record_door_pulse

logger = logging.getLogger(__name__)

PULSE_SECONDS = 5.0


def start_web_pulse() -> None:
    """Say so from now on, in a thread that ends with the process."""
    threading.Thread(target=_run, name="web-pulse", daemon=True).start()


def _run() -> None:
    while True:
        beat_once()
        time.sleep(PULSE_SECONDS)


def beat_once() -> None:
    """Say so once; where the database is away nothing can come in either, which the gap tells afterwards."""
    try:
        record_door_pulse(name="http", now=database_now())
    except (DatabaseError, InterfaceError) as exc:
        logger.warning("no pulse of the web process: %s", exc)
    finally:
        connection.close()
