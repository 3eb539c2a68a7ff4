"""Takes telemetry over CoAP; 2.04 goes out only after the commit. Tells devices that observe what they shall do and be set to.

Two threads do the work: one runs aiocoap's event loop and fills the buffer, the main thread stores. A third hands on what
is stored, others ask the database who a device is and what its values are. Repeated requests: decision 10.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from devices.types import CommandRef, StateRef
from protocols.coap.address import CoapAddress
from protocols.coap.door import CONSUMER, Door
from protocols.coap.refusals import STORED, Answer, answer_partly_stored, answer_refused
from protocols.coap.sequence import SequenceFile
from protocols.coap.transport import TUNING, open_socket
from protocols.commands import CommandDispatcher
from protocols.deliveries import last_delivery_count, prune_deliveries
from protocols.listening import ListenerCore
from protocols.types import BatchOutcome, RawMessage, Refusal

logger = logging.getLogger(__name__)

BATCH_SIZE = 2_000
RETRY_SECONDS = 2.0


class CoapListener:
    """One listener process: `run` returns after `request_stop`, with everything taken in stored and answered."""

    def __init__(self, address: CoapAddress, *, sequence_path: Path, ready_file: Path | None = None) -> None:
        self._address = address
        self._sequence = SequenceFile(sequence_path)
        self._core = ListenerCore(
            name="coap",
            acknowledge=self._acknowledge,
            batch_size=BATCH_SIZE,
            ready_file=ready_file,
            on_beat=self._prune,
            find_error=lambda: self._dispatcher.last_error,
        )
        self._stored_count = 0
        self._door: Door | None = None
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run_loop, name="coap", daemon=True)
        self._dispatcher = CommandDispatcher(
            protocol="coap", send=self._send_command, send_state=self._send_state, is_ready=self._has_observers
        )
        self.port = 0

    @property
    def last_error(self) -> str:
        """What went wrong last."""
        return self._core.last_error

    def request_stop(self) -> None:
        """Take nothing more in, store and answer what was taken, then end. Only sets flags: signal handlers call it."""
        self._core.request_stop()

    def run(self) -> None:
        """Listen until told to stop."""
        if self._core.wait_for_database(self._continue_count):
            self._core.run(connect=self._connect, disconnect=self._disconnect)

    # --- Main thread

    def _continue_count(self) -> None:
        self._stored_count = last_delivery_count(consumer=CONSUMER)

    def _connect(self) -> None:
        self._thread.start()
        self._dispatcher.start()

    def _disconnect(self) -> None:
        self._dispatcher.stop(timeout_seconds=5)
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._stopping.set)  # behind the last answers
        self._thread.join(15)

    def _acknowledge(self, batch: Sequence[RawMessage], outcome: BatchOutcome) -> None:
        first: dict[int, Refusal] = {}
        for refusal in outcome.refusals:
            first.setdefault(refusal.index, refusal)
        self._stored_count = max((m.delivery.count for m in batch if m.delivery is not None), default=self._stored_count)
        answers = [
            (message.delivery.count, _answer(first.get(index), is_refused=index in outcome.refused))
            for index, message in enumerate(batch)
            if message.delivery is not None
        ]
        if self._door is not None:
            self._loop.call_soon_threadsafe(self._door.answer, answers)

    def _prune(self) -> None:
        prune_deliveries(consumer=CONSUMER, count=self._stored_count)

    # --- Commands, the dispatcher's thread

    def _has_observers(self) -> bool:
        return self._door is not None and self._door.is_waited_at

    def _send_command(self, tenant: str, command: CommandRef) -> bool:
        """Have the device notified if it observes. Never True: the command is sent once the device has acknowledged that."""
        if self._door is not None:
            self._loop.call_soon_threadsafe(self._door.bring_commands, tenant, command.device_key)
        return False

    def _send_state(self, tenant: str, state: StateRef) -> bool:
        """Have the device notified if it observes; it has been told once it has acknowledged that, as with commands."""
        if self._door is not None:
            self._loop.call_soon_threadsafe(self._door.bring_state, tenant, state.device_key)
        return False

    # --- The event loop's thread

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as exc:  # the listener's loop: without it the process is of no use, its supervisor starts another
            logger.exception("the CoAP server ended")
            self._core.report_error(f"{type(exc).__name__}: {exc}")
            self._core.request_stop()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        repeats_until = time.monotonic() + TUNING.EXCHANGE_LIFETIME
        door = Door(
            loop=self._loop,
            offer=self._core.offer,
            first_count=self._stored_count,
            repeats_until=repeats_until,
            sequence=self._sequence,
        )
        self._door = door
        while not self._stopping.is_set():
            try:
                self.port = (await open_socket(door, self._address)).port
            except OSError as exc:
                self._core.mark_connecting(f"UDP port {self._address.port} on {self._address.host}: {exc.strerror or exc}")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        if self.port:
            logger.info("listening on %s, UDP port %d", self._address.host, self.port)
            self._core.mark_connected()
        await self._stopping.wait()
        door.give_up()
        await asyncio.sleep(0)
        await door.shutdown()


def _answer(first: Refusal | None, *, is_refused: bool) -> Answer:
    if first is None:
        return STORED
    if is_refused:
        return answer_refused(first, max_bytes=settings.IIOT_MAX_MESSAGE_BYTES)
    return answer_partly_stored(first)
