"""Block-wise transfer (RFC 7959): requests put together within bounds, answers cut into pieces. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass

from protocols.coap.refusals import ENTITY_INCOMPLETE, SERVICE_UNAVAILABLE, Refused

LARGEST_EXPONENT = 6  # 1,024 bytes; 7 is for TCP
MAX_OPEN_PER_SENDER = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A Block1 or Block2 option: which piece, whether more follow, and its size as 2^(exponent + 4) bytes."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        return 1 << (self.exponent + 4)

    @property
    def start(self) -> int:
        return self.number * self.size


@dataclass(slots=True)
class _Body:
    sender: Hashable
    parts: list[bytes]
    length: int
    touched_at: float


class BlockSpool:
    """Bodies that are on their way in: bounded in number per sender, in bytes of one and of all, and in time."""

    def __init__(self, *, max_bytes: int, max_total_bytes: int, idle_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._idle_seconds = idle_seconds
        self._bodies: dict[Hashable, _Body] = {}
        self._total = 0

    def add(self, key: Hashable, block: Block, payload: bytes, *, sender: Hashable, now: float) -> bytes | None:
        """Take a block; return the body once it is whole, or longer than a message may be. None: go on.

        Raises:
            Refused: 4.00 for a block of the wrong size, 4.08 for one that does not follow, 5.03 where there is no room.
        """
        if block.exponent > LARGEST_EXPONENT or len(payload) > block.size or (block.more and len(payload) < block.size):
            raise Refused("bad_block", "The payload has not the size that its Block1 option says.")
        if block.number == 0:
            self.drop(key)
            self._make_room(sender, len(payload), now)
            self._bodies[key] = _Body(sender, [], 0, now)
        body = self._bodies.get(key)
        if body is None or body.length != block.start:
            raise Refused("incomplete", "Blocks are missing; begin again with the first.", code=ENTITY_INCOMPLETE)
        if self._total + len(payload) > self._max_total_bytes:
            self.drop(key)
            raise _no_room()
        body.parts.append(payload)
        body.length += len(payload)
        body.touched_at = now
        self._total += len(payload)
        if block.more and body.length <= self._max_bytes:
            return None
        self.drop(key)
        return b"".join(body.parts)

    def drop(self, key: Hashable) -> None:
        """Forget a body."""
        body = self._bodies.pop(key, None)
        if body is not None:
            self._total -= body.length

    def _make_room(self, sender: Hashable, size: int, now: float) -> None:
        """Forget what nobody goes on with; a sender's oldest body makes room for its newest."""
        if self._total + size > self._max_total_bytes:
            for key in [key for key, body in self._bodies.items() if body.touched_at < now - self._idle_seconds]:
                self.drop(key)
        own = [key for key, body in self._bodies.items() if body.sender == sender]
        for key in own[: max(0, len(own) - MAX_OPEN_PER_SENDER + 1)]:
            self.drop(key)
        if self._total + size > self._max_total_bytes:
            raise _no_room()


def cut_block(payload: bytes, asked: Block | None, *, exponent: int) -> tuple[bytes, Block | None]:
    """Return the piece of an answer that was asked for, no larger than the exponent says, with its option; None where it is all.

    Raises:
        Refused: 4.00 for a piece beyond the end.
    """
    wanted = min(asked.exponent, exponent) if asked else exponent
    start = asked.start if asked else 0
    if start >= len(payload) and start > 0:
        raise Refused("bad_block", "The answer has no such block.")
    size = 1 << (wanted + 4)
    if start == 0 and len(payload) <= size:
        return payload, None
    return payload[start : start + size], Block(start // size, start + size < len(payload), wanted)


def _no_room() -> Refused:
    return Refused("busy", "Too many large messages at once; come again.", code=SERVICE_UNAVAILABLE, max_age=10)
