"""Fault 5: a plant's OPC UA server restarts, turns a node bad, and comes back with another certificate.

The sender is the server itself. Acknowledged is a value whose notification the platform acknowledged: the server may forget it
then. What was in a server that ends before that is lost with it, on every platform.
"""

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.ua.status_codes import StatusCodes

from tests.faults.run import Run, Verdict
from tests.faults.tally import Log, count
from tests.platform import Platform
from tests.protocols.opcua.plant import PlantServer
from tests.waiting import wait_until

RATE = 50.0
BACK_SECONDS = 30.0
INACTIVITY_SECONDS = 3  # offline after three times as long
NODE = "counter"
WAIT_SECONDS = 60.0
LOAD_SECONDS = 3.0
PAUSE_SECONDS = 0.2  # between questions to the API
READINGS_SQL = (
    "SELECT r.value, r.quality FROM t_acme.telemetry_reading r JOIN t_acme.devices_device d ON d.id = r.device_id WHERE d.key = %s"
)


def break_opcua(run: Run) -> Verdict:
    """5: restarted, bad, another certificate; an incident while nothing comes."""
    with tempfile.TemporaryDirectory(prefix="iiot-plant-") as folder, noted_acknowledgements() as acknowledged:
        plant = PlantServer(Path(folder) / "first")
        plc = PlatformSide(run.platform, plant.url)
        sender = Counter(plant)
        try:
            remarks = [plc.accept_certificate_of(sender)]
            remarks.append(_restart(plc, sender))
            fault = _turn_bad(plc, sender)
            remarks.append("bad and uncertain kept")
            plant, remark, silent_fault = _change_certificate(plc, sender, Path(folder) / "second")
            remarks.append(remark)
        finally:
            sender.stop()
            plant.close()
        wait_until(lambda: acknowledged <= plc.stored(), seconds=WAIT_SECONDS)
        log = Log(sent=sender.sent, acknowledged=acknowledged & sender.sent)
        tally = count({"opcua": log}, {"opcua": plc.list_stored()})
        return Verdict(tally, "; ".join(remarks), fault or silent_fault or run.check_ledger())


def _restart(plc: "PlatformSide", sender: "Counter") -> str:
    time.sleep(LOAD_SECONDS)
    sender.pause()
    sender.plant.stop()
    sender.resume()
    return f"restarted: values again after {plc.wait_for_value(sender):.1f} s"


def _turn_bad(plc: "PlatformSide", sender: "Counter") -> str:
    """Let the node have no value for a moment, then one that is uncertain; return what is wrong with that."""
    time.sleep(LOAD_SECONDS)
    sender.pause()
    sender.write_status(StatusCodes.BadSensorFailure, has_value=False)
    wait_until(lambda: plc.count_of_quality(2) == 1, seconds=WAIT_SECONDS)
    sender.write_status(StatusCodes.UncertainLastUsableValue, has_value=True)
    wait_until(lambda: plc.count_of_quality(1) == 1, seconds=WAIT_SECONDS)
    sender.resume()
    plc.wait_for_value(sender)
    return "" if (plc.count_of_quality(2), plc.count_of_quality(1)) == (1, 1) else "a quality was not kept"


def _change_certificate(plc: "PlatformSide", sender: "Counter", folder: Path) -> tuple[PlantServer, str, str]:
    """Return the new server, what happened, and what was wrong with it."""
    sender.pause()
    sender.plant.close()
    sender.plant = PlantServer(folder, port=sender.plant.port)
    sender.resume()
    wait_until(lambda: plc.server()["offered_fingerprint"] != "", seconds=WAIT_SECONDS)
    before = plc.stored()
    wait_until(lambda: plc.list_open_incidents() != [], seconds=WAIT_SECONDS)
    fault = "" if plc.stored() == before else "values were read from a server that nobody had accepted"
    remark = plc.accept_certificate_of(sender)
    wait_until(lambda: plc.list_open_incidents() == [], seconds=WAIT_SECONDS)
    return sender.plant, f"another certificate: not read, an incident, {remark}, the incident over", fault


class Counter:
    """Writes numbers that grow to the node; notes them before."""

    def __init__(self, plant: PlantServer) -> None:
        self.plant = plant
        self.sent: set[int] = set()
        self._next = 0
        self._running = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Start the server, if it does not run, with a number in its node; then write on."""
        if not self.plant.is_running:
            self.plant.prepare(NODE, self._take())
            self.plant.start()
        self._running.set()

    def pause(self) -> None:
        """Return when nothing is being written."""
        self._running.clear()
        self._idle.wait()

    def stop(self) -> None:
        self._is_stopping = True
        self._running.set()
        self._thread.join(WAIT_SECONDS)

    def write_status(self, code: int, *, has_value: bool) -> None:
        """Write the next number, or none, with a status."""
        variant = self._take().Value if has_value else None
        self.plant.write(NODE, ua.DataValue(variant, StatusCode=ua.StatusCode(ua.UInt32(code)), SourceTimestamp=_now()))

    def _take(self) -> ua.DataValue:
        number, self._next = self._next, self._next + 1
        self.sent.add(number)
        return ua.DataValue(ua.Variant(float(number)), SourceTimestamp=_now())

    def _run(self) -> None:
        while True:
            self._idle.set()
            self._running.wait()
            if self._is_stopping:
                return
            self._idle.clear()
            if self._running.is_set():
                self.plant.write(NODE, self._take())
            self._idle.set()
            time.sleep(1 / RATE)


class PlatformSide:
    """What an admin of acme sees and does, and what the database holds."""

    def __init__(self, platform: Platform, url: str) -> None:
        self._platform = platform
        self._token = platform.log_in("admin")
        self.key = f"plc-{int(time.time())}"
        kind = self._call("POST", "/device-types", {"name": self.key, "inactivity_timeout_seconds": INACTIVITY_SECONDS})
        self._device = self._call("POST", "/devices", {"key": self.key, "device_type": kind["id"]})["id"]
        body = {"name": self.key, "endpoint_url": url, "publishing_interval_seconds": 0.2}
        self._server = "/protocols/opcua-servers/" + self._call("POST", "/protocols/opcua-servers", body)["id"]
        mapping = {"node_id": f"nsu=http://plant.example/;s={NODE}", "device": self._device, "metric": NODE}
        self._call("POST", f"{self._server}/mappings", mapping)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        time.sleep(PAUSE_SECONDS)
        return self._platform.call(method, path, body, token=self._token)

    def server(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", self._server)
        return found

    def list_open_incidents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"/alerts/incidents?device={self._device}&state=open")["results"]
        return found

    def accept_certificate_of(self, sender: Counter) -> str:
        """Accept what the server shows; return how long values took to come then."""
        sender.resume()
        fingerprint = sender.plant.identity.fingerprint
        wait_until(lambda: self.server()["offered_fingerprint"] == fingerprint, seconds=WAIT_SECONDS)
        self._call("POST", f"{self._server}/trust", {"fingerprint": fingerprint})
        return f"accepted: values after {self.wait_for_value(sender):.1f} s"

    def wait_for_value(self, sender: Counter) -> float:
        """Return the seconds until a number that is written from now on is stored, thirty at most."""
        began, newest = time.monotonic(), max(sender.sent)
        wait_until(lambda: max(self.stored(), default=-1) > newest, seconds=BACK_SECONDS)
        return time.monotonic() - began

    def count_of_quality(self, quality: int) -> int:
        return sum(1 for _, found in self._rows() if found == quality)

    def list_stored(self) -> list[int]:
        """Return the numbers stored, but for those that stand for a bad value."""
        return [number for number, quality in self._rows() if quality != 2]

    def stored(self) -> set[int]:
        return set(self.list_stored())

    def _rows(self) -> Iterable[tuple[int, int]]:
        return ((int(value), quality) for value, quality in self._platform.query(READINGS_SQL, self.key))


@contextmanager
def noted_acknowledgements() -> Iterator[set[int]]:
    """Collect the numbers whose notifications were acknowledged to a server of this process."""
    found: set[int] = set()
    publish = InternalSubscription.publish

    def note(self: InternalSubscription, acks: Iterable[int]) -> None:
        acks = list(acks)
        for sequence in acks:
            result = self._not_acknowledged_results.get(sequence)
            found.update(_numbers_in(result) if result is not None else ())
        publish(self, acks)

    InternalSubscription.publish = note  # type: ignore[method-assign]  # put back below
    try:
        yield found
    finally:
        InternalSubscription.publish = publish  # type: ignore[method-assign]  # as it was


def _numbers_in(result: ua.PublishResult) -> Iterator[int]:
    for notification in result.NotificationMessage.NotificationData or []:
        for item in getattr(notification, "MonitoredItems", None) or []:
            if item.Value.Value is not None and item.Value.Value.Value is not None:
                yield int(item.Value.Value.Value)


def _now() -> ua.DateTime:
    return ua.DateTime.fromtimestamp(datetime.now(UTC).timestamp(), UTC)
