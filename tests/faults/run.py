"""One fault: load, break something, wait until all is stored, count."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from tests.faults.senders import AmqpSender, HttpSender, MqttSender, Sender
from tests.faults.tally import Tally, count
from tests.platform import FOREIGN_VARIABLES, ROOT, Platform
from tests.waiting import wait_until

BEFORE_SECONDS = 3.0
AFTER_SECONDS = 4.0
BACK_SECONDS = 10.0
STORE_SECONDS = 120.0
COUNT_SQL = "SELECT coalesce(sum(messages), 0) FROM t_acme.telemetry_ingestledger WHERE listener = %s"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a fault. `remark` says what else was seen; `fault` why it did not pass, "" if it did."""

    tally: Tally
    remark: str
    fault: str = ""
    server_errors: int = 0

    @property
    def has_passed(self) -> bool:
        return self.tally.is_clean and not self.fault


class Run:
    """The platform under the load of one fault at a time. Metrics carry the fault's number, so that runs do not mix."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._number = 0

    def senders(self, *, untimed: bool = True) -> list[Sender]:
        """Return fresh senders over every protocol, timed and, over MQTT and AMQP, without a time of their own."""
        self._number += 1
        name = f"fault_{self._number}_{int(time.time())}"
        found: list[Sender] = [
            MqttSender(self.platform, "furnace-1", metric=f"{name}_a", rate=150),
            HttpSender(self.platform, "conveyor-1", metric=f"{name}_c", rate=20),
        ]
        if untimed:
            found.append(MqttSender(self.platform, "furnace-2", metric=f"{name}_b", rate=150, is_timed=False))
        if self.has_amqp:
            wait_until(lambda: self.platform.is_ready("listen-amqp"), seconds=60)  # RabbitMQ starts last
            found.append(AmqpSender(self.platform, "conveyor-2", metric=f"{name}_d", rate=50))
            if untimed:
                found.append(AmqpSender(self.platform, "tank-3", metric=f"{name}_e", rate=50, is_timed=False))
        return found

    @property
    def has_amqp(self) -> bool:
        """Whether RabbitMQ is on this machine."""
        return "amqp" in self.platform.demo

    def under_load(
        self,
        break_it: Callable[[], str],
        *,
        untimed: bool = True,
        mend: Callable[[], None] | None = None,
        amqp_seconds: float = BACK_SECONDS,
    ) -> Verdict:
        """Send, break, go on sending, and count what came through; AMQP may take longer to come back where RabbitMQ starts anew."""
        senders = self.senders(untimed=untimed)
        for sender in senders:
            sender.start()
        time.sleep(BEFORE_SECONDS)
        remark = break_it()
        broken_at = time.monotonic()
        back = self._wait_until_messages_come(broken_at)
        slow = {name: seconds for name, seconds in back.items() if seconds > (amqp_seconds if name == "amqp" else BACK_SECONDS)}
        time.sleep(AFTER_SECONDS)
        if mend is not None:
            mend()
        for sender in senders:
            sender.finish()
        tally = self.count_stored(senders)
        late = f"messages came again only after {_listed(slow)}" if slow else ""
        errors = sum(sender.server_errors for sender in senders)
        return Verdict(tally, f"{remark}; ingest again after {_listed(back)}", late or self.check_ledger(), errors)

    def count_stored(self, senders: Sequence[Sender]) -> Tally:
        """Wait until what was acknowledged is stored, or does not come, and compare."""
        deadline = time.monotonic() + STORE_SECONDS
        while time.monotonic() < deadline:
            tally = self._tally(senders)
            if tally.lost == 0:
                break
            time.sleep(0.5)
        time.sleep(1)  # for what should not come
        return self._tally(senders)

    def _tally(self, senders: Sequence[Sender]) -> Tally:
        stored = {sender.name: [int(value) for value in self.platform.values(sender.key, sender.metric)] for sender in senders}
        return count({sender.name: sender.log for sender in senders}, stored)

    def _wait_until_messages_come(self, since: float) -> dict[str, float]:
        """Return by protocol the seconds until its messages are stored again."""
        protocols = ("mqtt", "http", "amqp") if self.has_amqp else ("mqtt", "http")
        before: dict[str, int] = {}
        back: dict[str, float] = {}

        def are_all_back() -> bool:
            try:
                now = {name: int(self.platform.query(COUNT_SQL, name)[0][0]) for name in protocols}
            except psycopg.Error:  # the database is what was broken
                return False
            before.update({} if before else now)
            for name in protocols:
                if now[name] > before[name]:
                    back.setdefault(name, time.monotonic() - since)
            return len(back) == len(protocols)

        wait_until(are_all_back, seconds=STORE_SECONDS)
        return back

    def check_ledger(self) -> str:
        """Return what `manage.py check_ledger` finds wrong, "" where all adds up."""
        env = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        env["IIOT_DATA_DIR"] = str(self.platform.folder)
        done = subprocess.run(
            [sys.executable, "manage.py", "check_ledger"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120
        )
        return "" if done.returncode == 0 else f"the ledger does not add up: {done.stderr.strip()[-300:]}"

    def keep_away(self, name: str, seconds: float) -> str:
        """Kill a server again and again, so that it is away for that long; return what was done."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.kill(name)
            time.sleep(0.3)
        return f"{name} away for {seconds:.0f} s"

    def exit_of(self, name: str) -> str:
        """Return how a process ended last, in the supervisor's words."""
        lines = (self.platform.folder / "up.log").read_text().splitlines()
        found = [line for line in lines if f" {name} " in line and "stopped (" in line]
        return found[-1].partition("stopped (")[2].partition(")")[0] if found else ""

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> str:
        """Send a signal to a process of the platform; return what was done."""
        process_id = self.platform.process_id(name)
        os.kill(process_id, number)
        return f"{number.name} to {name}"


def _listed(seconds: dict[str, float]) -> str:
    return ", ".join(f"{value:.1f} s ({name})" for name, value in seconds.items())
