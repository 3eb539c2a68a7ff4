"""One value as text: `21.5`, `true`, `idle`. Its metric is the only one of the device type, or `value`."""

import re

from protocols.codecs.gate import check_values, parse_text
from protocols.errors import InvalidShapeError, NotFiniteError
from protocols.types import Sample

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)\Z", re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}


def decode_plain(payload: bytes, *, max_bytes: int, metric: str) -> list[Sample]:
    """Decode one frame; blanks around the value do not count.

    Raises:
        MessageError: a subclass that names what is wrong.
    """
    text = parse_text(payload, max_bytes=max_bytes).strip()
    if not text:
        raise InvalidShapeError("The message is empty; send one value, such as 21.5.")
    value = read_scalar(text)
    return [Sample(metric, text if value is None else value, None)]


def read_scalar(text: str) -> float | bool | None:
    """Read a number or a boolean; None where the text is neither.

    Raises:
        NotFiniteError: it is NaN, infinite or too large.
    """
    if _NUMBER.match(text):
        number = float(text)
        check_values(number)
        return number
    if _NOT_FINITE.match(text):
        raise NotFiniteError("A number is not finite or too large for a 64-bit float; leave the value out.")
    return _BOOLEANS.get(text.lower())
