"""How long a message of an ordinary device takes from publishing to being stored."""

import time

import psycopg

from tests.faults.senders import MqttSender
from tests.platform import Platform

PROBE_SECONDS = 0.2
GIVE_UP_SECONDS = 30.0
PROBED = {"acme": "pump-2", "globex": "pump-9"}
FIND_SQL = "SELECT 1 FROM {0}.telemetry_latestreading l JOIN {0}.devices_metric m ON m.id = l.metric_id WHERE m.key = %s AND l.value = %s"


def measure_latencies(platform: Platform, *, seconds: float, tenant: str = "acme") -> list[float]:
    """Send a probe five times a second and return how long each took."""
    probe = MqttSender(platform, PROBED[tenant], metric=f"probe_{int(time.time())}", rate=1, tenant=tenant)
    found: list[float] = []
    statement = FIND_SQL.format(f"t_{tenant}")
    until = time.monotonic() + seconds
    with psycopg.connect(platform.database_url, autocommit=True) as database:
        number = 0
        while time.monotonic() < until:
            sent_at = time.monotonic()
            number += 1
            probe.send(number)
            while database.execute(statement, [probe.metric, number]).fetchone() is None and time.monotonic() < sent_at + GIVE_UP_SECONDS:
                time.sleep(0.005)
            found.append(time.monotonic() - sent_at)
            time.sleep(PROBE_SECONDS)
    probe.client.disconnect()
    probe.client.loop_stop()
    return found
