"""How long a message of an ordinary device takes from publishing to being stored."""

import time

import psycopg

from tests.faults.senders import MqttSender
from tests.platform import Platform

PROBE_SECONDS = 0.2
GIVE_UP_SECONDS = 30.0
FIND_SQL = (
    "SELECT 1 FROM t_acme.telemetry_latestreading l JOIN t_acme.devices_metric m ON m.id = l.metric_id WHERE m.key = %s AND l.value = %s"
)


def measure_latencies(platform: Platform, *, seconds: float) -> list[float]:
    """Send a probe five times a second and return how long each took."""
    probe = MqttSender(platform, "pump-2", metric=f"probe_{int(time.time())}", rate=1)
    found: list[float] = []
    until = time.monotonic() + seconds
    with psycopg.connect(platform.database_url, autocommit=True) as database:
        number = 0
        while time.monotonic() < until:
            sent_at = time.monotonic()
            number += 1
            probe.send(number)
            while database.execute(FIND_SQL, [probe.metric, number]).fetchone() is None and time.monotonic() < sent_at + GIVE_UP_SECONDS:
                time.sleep(0.005)
            found.append(time.monotonic() - sent_at)
            time.sleep(PROBE_SECONDS)
    probe.client.disconnect()
    probe.client.loop_stop()
    return found
