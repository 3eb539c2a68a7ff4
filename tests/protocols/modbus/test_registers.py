import math
import struct
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connections.types import RegisterSpec
from protocols.modbus.registers import _FORMATS, UndecodableError, decode_value, shorten_float32

_ORDERS = st.tuples(st.booleans(), st.booleans())
_NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
}


def spec(data_type: str, width: int = 1, **details: Any) -> RegisterSpec:
    return RegisterSpec("m", "holding", 0, width, data_type, **details)


def words_of(raw: bytes, *, is_little: bool, is_swapped: bool) -> list[int]:
    """Lay bytes into registers as a device of that kind would."""
    pairs = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    words = [int.from_bytes(pair[::-1] if is_swapped else pair, "big") for pair in pairs]
    return words[::-1] if is_little else words


@given(st.sampled_from(sorted(_NUMBERS)).flatmap(lambda name: st.tuples(st.just(name), _NUMBERS[name])), _ORDERS)
def test_a_number_is_read_as_it_was_written_in_any_order(number: tuple[str, Any], orders: tuple[bool, bool]) -> None:
    name, value = number
    raw = struct.pack(_FORMATS[name], value)
    words = words_of(raw, is_little=orders[0], is_swapped=orders[1])
    read = decode_value(spec(name, len(words), is_little_word_order=orders[0], swaps_bytes=orders[1]), words)
    assert not isinstance(read, bool | str)
    assert struct.pack(_FORMATS[name], read) == raw


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40), _ORDERS)
def test_a_text_is_read_up_to_its_end(text: str, orders: tuple[bool, bool]) -> None:
    raw = text.encode() + b"\0" * (len(text.encode()) % 2)
    assume(raw)
    words = words_of(raw, is_little=orders[0], is_swapped=orders[1])
    wanted = spec("string", len(words), is_little_word_order=orders[0], swaps_bytes=orders[1])
    assert decode_value(wanted, words) == text.rstrip()


@given(st.sampled_from(["bool", "string", *_NUMBERS]), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=4), st.data())
def test_whatever_the_registers_hold_there_is_a_value_or_a_reason(name: str, words: list[int], data: st.DataObject) -> None:
    scale = data.draw(st.floats(allow_nan=False, allow_infinity=False).filter(bool))
    offset = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    bit = data.draw(st.none() | st.integers(0, 15))
    wanted = spec(name, data.draw(st.just(len(words))), scale=scale, offset=offset, bit=bit)
    if name in _FORMATS and struct.calcsize(_FORMATS[name]) != 2 * len(words):
        return
    try:
        value = decode_value(wanted, words)
    except UndecodableError:
        return
    assert isinstance(value, bool | str) or math.isfinite(value)


@pytest.mark.parametrize(
    ("scale", "offset", "raw", "value"),
    [(0.1, 0, 215, 21.5), (0.1, 0, 3, 0.3), (0.01, -40, 6150, 21.5), (10, 0, 7, 70), (1, 0, 7, 7), (0.3, 0, 10, 3), (0.5, 1, 3, 2.5)],
)
def test_a_number_is_scaled_without_noise(scale: float, offset: float, raw: int, value: float) -> None:
    assert decode_value(spec("uint16", scale=scale, offset=offset), [raw]) == value


@pytest.mark.parametrize(("text", "words"), [("21.1", [0x41A8, 0xCCCD]), ("3.4028235e+38", [0x7F7F, 0xFFFF]), ("1.4013e-45", [0, 1])])
def test_a_float32_is_a_short_number_that_means_the_same(text: str, words: list[int]) -> None:
    assert decode_value(spec("float32", 2), words) == float(text)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortening_changes_no_float32(number: float) -> None:
    assert struct.pack(">f", shorten_float32(number)) == struct.pack(">f", number)


@pytest.mark.parametrize(
    ("bit", "swap", "word", "value"),
    [
        (None, False, 0, False),
        (None, False, 7, True),
        (0, False, 1, True),
        (15, False, 0x8000, True),
        (3, False, 7, False),
        (8, True, 1, True),
    ],
)
def test_a_boolean_is_a_register_or_one_bit_of_it(bit: int | None, swap: bool, word: int, value: bool) -> None:
    assert decode_value(spec("bool", bit=bit, swaps_bytes=swap), [word]) is value


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (spec("float32", 2), [0x7FC0, 0]),
        (spec("float32", 2), [0x7F80, 0]),
        (spec("float64", 4, scale=1e300), [0x7FEF, 0, 0, 0]),
        (spec("string", 1), [0xFFFF]),
        (spec("int32", 2), [1]),
    ],
)
def test_what_is_no_value_is_refused(wanted: RegisterSpec, words: list[int]) -> None:
    with pytest.raises(UndecodableError):
        decode_value(wanted, words)
