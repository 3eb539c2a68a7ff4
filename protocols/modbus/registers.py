"""From registers and coils to values. Pure.

Source: MODBUS Application Protocol Specification V1.1b3 (a register is 16 bits, high byte first). It says nothing of
values wider than a register: their word order differs by maker, so the register map names it.
"""

import math
import struct
from collections.abc import Sequence

from connections.types import RegisterSpec

Value = bool | int | float | str

_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


class UndecodableError(ValueError):
    """Registers that do not hold what the map says."""


def decode_value(spec: RegisterSpec, words: Sequence[int]) -> Value:
    """Return the value in these registers, or in this one coil.

    Raises:
        UndecodableError: they are too few, no number, beyond float8, or no text.
    """
    if len(words) != spec.width:
        raise UndecodableError(f"{spec.metric} takes {spec.width} registers and got {len(words)}")
    if spec.data_type == "bool":
        word = swap_bytes(words[0]) if spec.swaps_bytes else words[0]
        return bool(word >> spec.bit & 1) if spec.bit is not None else word != 0
    ordered = reversed(words) if spec.is_little_word_order else words
    raw = b"".join((swap_bytes(word) if spec.swaps_bytes else word).to_bytes(2, "big") for word in ordered)
    if spec.data_type == "string":
        return _decode_text(spec, raw)
    number: int | float = struct.unpack(_FORMATS[spec.data_type], raw)[0]
    if not math.isfinite(number):
        raise UndecodableError(f"{spec.metric} is no finite number")
    if spec.data_type == "float32":
        number = shorten_float32(number)
    return scale_number(number, spec)


def swap_bytes(word: int) -> int:
    """Exchange the two bytes of a register."""
    return (word & 0xFF) << 8 | word >> 8


def shorten_float32(number: float) -> float:
    """Return the shortest decimal that is the same float32: 21.1 instead of 21.100000381469727."""
    raw = struct.pack(">f", number)
    for digits in range(6, 9):
        short = float(f"{number:.{digits}g}")
        try:
            if struct.pack(">f", short) == raw:
                return short
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return float(f"{number:.9g}")


def scale_number(number: float, spec: RegisterSpec) -> int | float:
    """Return raw * scale + offset; a scale such as 0.1 divides by 10, so that 215 becomes 21.5 and 3 becomes 0.3.

    Raises:
        UndecodableError: the result is beyond float8.
    """
    if spec.scale != 1:
        inverse = round(1 / spec.scale) if abs(spec.scale) < 1 and math.isfinite(1 / spec.scale) else 0
        number = number / inverse if inverse and 1 / inverse == spec.scale else number * spec.scale
    number = number + spec.offset if spec.offset else number
    if not math.isfinite(number):
        raise UndecodableError(f"{spec.metric} is beyond what a number can hold after scaling")
    return number


def _decode_text(spec: RegisterSpec, raw: bytes) -> str:
    """Read UTF-8 up to the first NUL; blanks that fill it up go."""
    try:
        text = raw.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError as exc:
        raise UndecodableError(f"{spec.metric} is no text in UTF-8") from exc
    return text.rstrip()
