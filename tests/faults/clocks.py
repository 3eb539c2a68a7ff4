"""Fault 13: clocks that are two minutes off, of devices and of a host that runs a listener."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.run import Run, Verdict
from tests.faults.senders import AmqpSender, HttpSender, Sender
from tests.platform import FOREIGN_VARIABLES, ROOT, Platform
from tests.waiting import wait_until

SHIFT_SECONDS = 120
START_SECONDS = 60.0
LOAD_SECONDS = 5.0
# How far an untimed reading may lie from its commit; the shift is far beyond it.
NEAR_SECONDS = 30
FAR_SQL = (
    "SELECT count(*) FROM t_acme.telemetry_reading r JOIN t_acme.devices_metric m ON m.id = r.metric_id"
    " WHERE m.key = %s AND r.ts > clock_timestamp() + make_interval(secs => %s)"
)


def shift_device_clocks(run: Run) -> Verdict:
    """13: a device whose clock is two minutes ahead, and one two minutes behind: stored, and online."""
    senders: list[Sender] = []
    for key, shift in (("compressor-1", SHIFT_SECONDS), ("compressor-2", -SHIFT_SECONDS)):
        sender = HttpSender(run.platform, key, metric=f"clock_{int(time.time())}", rate=50)
        sender._start_ms += shift * 1000
        sender.start()
        senders.append(sender)
    time.sleep(LOAD_SECONDS)
    for each in senders:
        each.finish()
    return Verdict(run.count_stored(senders), "clocks of two devices off by two minutes", _find_offline(run.platform, senders))


def shift_host_clock(run: Run) -> Verdict:
    """13: a second AMQP listener on a host whose clock is two minutes ahead: shown, nobody offline, readings at the right time."""
    if not run.has_amqp or shutil.which("cc") is None:
        return Verdict(run.count_stored([]), "RabbitMQ or a C compiler is not installed")
    wait_until(lambda: run.platform.is_ready("listen-amqp"), seconds=START_SECONDS)
    name = f"host_{int(time.time())}"
    with _listener_with_wrong_clock(run.platform):
        senders: list[Sender] = [
            AmqpSender(run.platform, "conveyor-2", metric=f"{name}_a", rate=50),
            AmqpSender(run.platform, "tank-3", metric=f"{name}_b", rate=50, is_timed=False),
        ]
        for sender in senders:
            sender.start()
        wait_until(lambda: f"amqp {SHIFT_SECONDS:+d} s" in _clock_check(run.platform), seconds=START_SECONDS)
        time.sleep(LOAD_SECONDS)
        far = [run.platform.query(FAR_SQL, sender.metric, NEAR_SECONDS)[0][0] for sender in senders]
        for sender in senders:
            sender.finish()
        tally = run.count_stored(senders)
        shown = _clock_check(run.platform)
    fault = _find_offline(run.platform, senders) or (f"{sum(far)} readings lie in the future" if any(far) else "")
    return Verdict(tally, shown, fault or run.check_ledger())


def _find_offline(platform: Platform, senders: list[Sender]) -> str:
    """Return which sender is not online, "" where all are."""
    token = platform.log_in("viewer")
    states = {sender.key: platform.call("GET", f"/devices/{sender.entry['id']}", token=token)["status"] for sender in senders}
    return ", ".join(f"{key} is {state}" for key, state in states.items() if state != "online")


def _clock_check(platform: Platform) -> str:
    time.sleep(0.5)
    with urllib.request.urlopen(f"{platform.demo['http']}/health/ready", timeout=20) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return json.dumps(found.get("checks", found).get("clock", {}))


@contextmanager
def _listener_with_wrong_clock(platform: Platform) -> Iterator[None]:
    """Run a listener whose process sees another wall clock than this machine's."""
    with tempfile.TemporaryDirectory(prefix="iiot-clock-") as folder:
        library, ready = Path(folder) / "clock.so", Path(folder) / "ready"
        source = Path(__file__).with_name("clock_shift.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        env = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        env |= {"IIOT_DATA_DIR": str(platform.folder), "IIOT_READY_FILE": str(ready)}
        env |= {"LD_PRELOAD": str(library), "IIOT_FAULT_CLOCK_SECONDS": str(SHIFT_SECONDS)}
        with (Path(folder) / "log").open("wb") as log:
            listener = subprocess.Popen([sys.executable, "manage.py", "listen", "amqp"], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            wait_until(ready.exists, seconds=START_SECONDS)
            yield
        finally:
            listener.terminate()
            listener.wait(START_SECONDS)
