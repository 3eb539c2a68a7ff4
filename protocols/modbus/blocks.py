"""Which registers to ask for together. Pure.

Source: MODBUS Application Protocol Specification V1.1b3, 6.1 to 6.4: 2,000 coils or 125 registers in one request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connections.types import RegisterSpec
from protocols.modbus.registers import UndecodableError, Value, decode_value

LIMITS = {"coil": 2_000, "discrete": 2_000, "input": 125, "holding": 125}
# What lies between two wanted values is read along up to here: cheaper than one more request.
GAPS = {"coil": 256, "discrete": 256, "input": 16, "holding": 16}


@dataclass(frozen=True, slots=True)
class Block:
    """One request: `count` registers or coils from `address` on, and the values wanted of them."""

    table: str
    address: int
    count: int
    registers: tuple[RegisterSpec, ...]

    def __str__(self) -> str:
        return f"{self.table} {self.address}" + (f" to {self.address + self.count - 1}" if self.count > 1 else "")


def plan_blocks(registers: Iterable[RegisterSpec]) -> list[Block]:
    """Group registers into as few requests as their limits and gaps allow."""
    blocks: list[Block] = []
    group: list[RegisterSpec] = []
    for spec in sorted(registers, key=lambda spec: (spec.table, spec.address, spec.width)):
        if group and not _fits(group, spec):
            blocks.append(make_block(group))
            group = []
        group.append(spec)
    if group:
        blocks.append(make_block(group))
    return blocks


def make_block(registers: Sequence[RegisterSpec]) -> Block:
    """Return the request that covers these registers of one table."""
    start = min(spec.address for spec in registers)
    return Block(registers[0].table, start, _end(registers) - start, tuple(registers))


def split_block(block: Block) -> list[Block]:
    """Halve a block that a device refuses because of some address in it; one alone stays as it is.

    At the widest gap, because what lies between may not be there; without gaps in the middle.
    """
    specs = block.registers
    if len(specs) < 2:
        return [block]
    gaps = [specs[i].address - _end(specs[:i]) for i in range(1, len(specs))]
    middle = gaps.index(max(gaps)) + 1 if max(gaps) > 0 else len(specs) // 2
    return [make_block(specs[:middle]), make_block(specs[middle:])]


def decode_block(block: Block, words: Sequence[int]) -> tuple[dict[str, Value | None], str]:
    """Return the values of a block by metric, None where one cannot be read, and what is wrong with the last of those."""
    values: dict[str, Value | None] = {}
    error = ""
    for spec in block.registers:
        start = spec.address - block.address
        try:
            values[spec.metric] = decode_value(spec, words[start : start + spec.width])
        except UndecodableError as exc:
            values[spec.metric], error = None, str(exc)
    return values, error


def _fits(group: Sequence[RegisterSpec], spec: RegisterSpec) -> bool:
    table = spec.table
    return (
        group[0].table == table
        and spec.address - _end(group) <= GAPS[table]
        and max(_end(group), spec.address + spec.width) - group[0].address <= LIMITS[table]
    )


def _end(registers: Sequence[RegisterSpec]) -> int:
    return max(spec.address + spec.width for spec in registers)
