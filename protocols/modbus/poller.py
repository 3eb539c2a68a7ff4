"""Polls one device for as long as it is configured: connect, ask, hand on, and back off where it does not answer."""

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from connections.types import ConnectionReport, ModbusTarget
from iiot_site.lib.plant_network import OutsidePlantError, resolve_in_plant
from protocols.modbus.blocks import Block, decode_block, plan_blocks, split_block
from protocols.modbus.client import ADDRESS_EXCEPTIONS, LinkError, ModbusClient, RefusedError
from protocols.modbus.frames import LastValues, make_frames
from protocols.types import RawMessage

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 60.0
# Polls further apart than this each have a connection of their own.
HELD_SECONDS = 30.0
WAITING, CONNECTED, FAILING = "waiting", "connected", "failing"


class Poller:
    """One device of one tenant. `report` says how it does; `send` waits while the buffer is full, which slows polling down."""

    def __init__(self, target: ModbusTarget, *, tenant: str, send: Callable[[RawMessage], Awaitable[None]], resolver: Executor) -> None:
        self.target = target
        self._tenant = tenant
        self._send = send
        self._resolver = resolver
        self._source = f"modbus://{target.host}:{target.port}/{target.unit_id}"
        self._last = LastValues()
        self._blocks: list[Block] = []
        self._has_answered = False
        self._due = 0.0
        self._is_ended = False
        self.report = ConnectionReport(target.connection_id, WAITING, "", None)

    async def run(self) -> None:
        """Poll until ended."""
        self._due = time.monotonic() + self._phase_seconds()
        failures = 0
        while not self._is_ended:
            self._has_answered = False
            try:
                await self._wait_until_due()
                await self._hold_session()
                failures = 0
                continue
            except (LinkError, OutsidePlantError) as exc:
                error = str(exc)
            except Exception as exc:  # the listener's loop: whatever one device caused stays with it
                logger.exception("polling %s failed", self._source)
                error = f"{type(exc).__name__}: {exc}"
            if self._has_answered:  # many close a connection that was idle, or all of them now and then: try once at once
                failures = 0
                continue
            failures += 1
            await self._fail(error)
            await asyncio.sleep(_backoff_seconds(failures))

    def end(self) -> None:
        """Make `run` end. Cancel its task too: that ends its waiting, but alone it can get lost (asyncio.wait_for before Python 3.12)."""
        self._is_ended = True

    def _phase_seconds(self) -> float:
        """Spread the first requests of all devices over their interval, so that they do not all come at the same moment."""
        digest = hashlib.blake2b(f"{self._tenant}/{self.target.device}".encode(), digest_size=4).digest()
        return min(self.target.interval_seconds, 5.0) * int.from_bytes(digest, "big") / 2**32

    async def _wait_until_due(self) -> None:
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))

    async def _hold_session(self) -> None:
        """Connect and poll at even intervals; what a slow device misses is left out, not made up for.

        Returns after each poll where they are so far apart that a device may close the connection in between.

        Raises:
            LinkError, OutsidePlantError: the connection ended, or there is none.
        """
        target = self.target
        client = ModbusClient(await self._resolve(), target.port, unit_id=target.unit_id, timeout_seconds=target.timeout_seconds)
        refusals = 0
        try:
            await client.connect()
            self._blocks = plan_blocks(target.registers)
            while not self._is_ended:
                refusals = 0 if await self._poll(client) else refusals + 1
                late = max(0.0, time.monotonic() - self._due)
                self._due += (late // target.interval_seconds + 1) * target.interval_seconds
                if target.interval_seconds >= HELD_SECONDS:
                    return
                if refusals:
                    await asyncio.sleep(_backoff_seconds(refusals))
                await self._wait_until_due()
        finally:
            client.close()

    async def _resolve(self) -> str:
        def resolve() -> str:
            return resolve_in_plant(self.target.host, self.target.port, networks=settings.IIOT_PLANT_NETWORKS)

        try:
            async with asyncio.timeout(self.target.timeout_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._resolver, resolve)
        except TimeoutError as exc:
            raise LinkError(f"the name {self.target.host!r} was not found within {self.target.timeout_seconds:g} s") from exc

    async def _poll(self, client: ModbusClient) -> bool:
        """Ask for all blocks and hand on what came, also where a later one fails. False where the device refused everything."""
        parts: list[tuple[int, Mapping[str, Any]]] = []
        errors: list[str] = []
        answers = 0
        before = len(self._blocks)
        try:
            for block in list(self._blocks):
                wall, started = time.time(), time.monotonic()
                try:
                    values, error = decode_block(block, await client.read(block))
                    answers += 1
                except RefusedError as exc:
                    values, error = dict.fromkeys(spec.metric for spec in block.registers), str(exc)
                    if exc.code in ADDRESS_EXCEPTIONS:
                        self._split(block)
                errors += [error] if error else []
                middle = wall + (time.monotonic() - started) / 2
                parts.append((int(middle * 1000), self._last.take(values)))
        finally:
            await self._hand_on(parts)
        if answers:
            self._has_answered = True
            self.report = ConnectionReport(self.target.connection_id, CONNECTED, errors[0] if errors else "", datetime.now(UTC))
            return True
        self.report = ConnectionReport(self.target.connection_id, FAILING, errors[0], self.report.answered_at)
        return len(self._blocks) > before

    def _split(self, block: Block) -> None:
        """Ask in two parts from now on, so that in the end only what the device does not have is missing."""
        index = self._blocks.index(block)
        self._blocks[index : index + 1] = split_block(block)

    async def _fail(self, error: str) -> None:
        self.report = ConnectionReport(self.target.connection_id, FAILING, error[:300], self.report.answered_at)
        await self._hand_on([(int(time.time() * 1000), self._last.lose_all())])

    async def _hand_on(self, parts: list[tuple[int, Mapping[str, Any]]]) -> None:
        for frame in make_frames(parts):
            await self._send(
                RawMessage(
                    tenant=self._tenant,
                    device=self.target.device,
                    payload=frame,
                    received_at=datetime.now(UTC),
                    protocol="modbus",
                    source=self._source,
                    codec="json",
                )
            )


def _backoff_seconds(failures: int) -> float:
    """Return how long to wait after so many failures in a row, by chance a little more or less so that devices spread."""
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10), LAST_BACKOFF_SECONDS)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311  # no secret
