"""The reference for ingest over MQTT: paho, msgspec, staged COPY, commit, PUBACK, and nothing else. A program of its own.

`python -m tests.benchmarks.minimal_pipeline <messages>` listens on `ref/#` with MQTT_URL and writes to `public.bench_reading`
in DATABASE_URL. Prints "ready", then the CPU seconds it took. What a tenant, a ledger, latest values and rules cost more is
what the benchmark shows.
"""

import os
import struct
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import paho.mqtt.client as paho
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from protocols.broker_address import parse_mqtt_url

BATCH = 2_000
BATCH_SECONDS = 0.1
EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
METRICS = {"temperature": 0, "pressure": 1, "vibration": 2}
COLUMNS = "ts timestamptz, value float8, device_id int, metric_id smallint, quality smallint"
TABLE_SQL = f"DROP TABLE IF EXISTS bench_reading; CREATE TABLE bench_reading ({COLUMNS}, PRIMARY KEY (device_id, metric_id, ts))"
STAGE_SQL = f"CREATE TEMPORARY TABLE bench_stage ({COLUMNS}) ON COMMIT DELETE ROWS"
COPY_SQL = "COPY bench_stage FROM STDIN (FORMAT binary)"
INSERT_SQL = "INSERT INTO bench_reading SELECT * FROM bench_stage ON CONFLICT DO NOTHING"
_pack = struct.Struct("!hiqidiiihih").pack


class Message(msgspec.Struct):
    """The one form this pipeline reads."""

    ts: float
    values: dict[str, float]


class MinimalPipeline:
    """One thread reads, one writes."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._queue: list[tuple[str, bytes | bytearray, int]] = []
        self._changed = threading.Condition()
        self._decode = msgspec.json.Decoder(Message).decode
        self._database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        self._database.execute(TABLE_SQL)
        self._database.execute(STAGE_SQL)
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"bench-reference-{time.time_ns()}", manual_ack=True)

    def run(self) -> None:
        address = parse_mqtt_url(os.environ["MQTT_URL"])
        self.client.username_pw_set(address.username, address.password)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: print("ready", flush=True)
        self.client.connect(address.host, address.port)
        writer = threading.Thread(target=self._write)
        writer.start()
        self.client.loop_forever()
        writer.join()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe("ref/#", 1)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._queue.append((message.topic, message.payload, message.mid))
            if len(self._queue) in {1, BATCH}:
                self._changed.notify()

    def _take(self) -> list[tuple[str, bytes | bytearray, int]]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue, 1)
            self._changed.wait_for(lambda: len(self._queue) >= BATCH, BATCH_SECONDS)
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            return batch

    def _write(self) -> None:
        cursor = self._database.cursor()
        while self._left > 0:
            batch = self._take()
            rows = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
            for topic, payload, _ in batch:
                message = self._decode(payload)
                _, tenant, device, _ = topic.split("/")
                number = int(device[3:]) + 100_000 * (tenant[-1] == "b")
                ts = round((message.ts / 1000 - EPOCH) * 1_000_000)
                for metric, value in message.values.items():
                    rows.append(_pack(5, 8, ts, 8, value, 4, number, 2, METRICS[metric], 2, 0))
            rows.append(b"\xff\xff")
            with self._database.transaction():
                with cursor.copy(COPY_SQL) as copy:
                    copy.write(b"".join(rows))
                cursor.execute(INSERT_SQL)
            for _, _, mid in batch:
                self.client.ack(mid, 1)
            self._left -= len(batch)
        self.client.disconnect()


if __name__ == "__main__":
    MinimalPipeline(int(sys.argv[1])).run()
    print(time.process_time())
