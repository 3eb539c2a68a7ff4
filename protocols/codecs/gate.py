"""The strict gate every frame passes, whatever its format: size, UTF-8, depth, finite numbers, no NUL, no duplicate keys.

Source: RFC 8259 §4 and §8.1, RFC 7493 (I-JSON) §2.1 to §2.3. CBOR comes in through `cbor.parse_cbor`, which ends here.
"""

import json as stdlib_json
from math import isfinite

import msgspec

from protocols.errors import (
    DuplicateKeyError,
    ForbiddenCharacterError,
    MalformedJsonError,
    MessageError,
    MessageTooLargeError,
    NotFiniteError,
    NotUtf8Error,
    TooDeepError,
)

MAX_DEPTH = 8
_decoder = msgspec.json.Decoder()


def parse_json(payload: bytes, *, max_bytes: int) -> object:
    """Return the document in `payload` as plain Python values.

    Raises:
        MessageError: a subclass that names what is wrong.
    """
    check_size(payload, max_bytes=max_bytes)
    try:
        document = _decoder.decode(payload)
    except RecursionError as exc:
        raise too_deep() from exc
    except UnicodeDecodeError as exc:
        raise NotUtf8Error("The text is not UTF-8; encode it as UTF-8 without a byte order mark.") from exc
    except msgspec.DecodeError as exc:
        raise _explain(payload, str(exc)) from exc
    keys = _count_plain_keys(document)
    if not keys or b"\\u0000" in payload:
        keys = check_values(document)
    if payload.count(b":") != keys:
        _check_duplicate_keys(payload)
    return document


def _count_plain_keys(document: object) -> int:
    """Return the number of keys of a message whose values are all fractions or booleans, flat or beside a time stamp; else 0.

    It needs no closer look: the decoder lets no infinite fraction through, and nothing is nested.
    """
    if type(document) is not dict:
        return 0
    values, keys = document, len(document)
    inner = document.get("values")
    if type(inner) is dict and keys == 2 and type(document.get("ts")) is int:
        values, keys = inner, 2 + len(inner)
    for value in values.values():
        if type(value) is not float and type(value) is not bool:
            return 0
    return keys


def parse_text(payload: bytes, *, max_bytes: int) -> str:
    """Return the text in `payload`, for formats that are lines of text.

    Raises:
        MessageError: a subclass that names what is wrong.
    """
    check_size(payload, max_bytes=max_bytes)
    try:
        text = payload.decode()
    except UnicodeDecodeError as exc:
        raise NotUtf8Error("The text is not UTF-8; encode it as UTF-8 without a byte order mark.") from exc
    if text.startswith("\ufeff"):
        raise NotUtf8Error("The text begins with a byte order mark; leave it out.")
    check_values(text)
    return text


def check_size(payload: bytes, *, max_bytes: int) -> None:
    """Refuse more bytes than a message may have."""
    if len(payload) > max_bytes:
        raise MessageTooLargeError(f"The message has {len(payload)} bytes; send at most {max_bytes}, in several messages.")


def check_values(document: object) -> int:
    """Check depth, numbers and texts of decoded values, whatever format they came in; return the number of keys."""
    keys = 0
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for value in level:
            kind = type(value)
            if kind is dict:
                keys += len(value)  # type: ignore[arg-type]  # mypy does not narrow by type(); isinstance is slower
                for key in value:  # type: ignore[attr-defined]  # as above
                    _check_text(key)
                below.extend(value.values())  # type: ignore[attr-defined]  # as above
            elif kind is list:
                below.extend(value)  # type: ignore[arg-type]  # as above
            elif kind is str:
                _check_text(value)  # type: ignore[arg-type]  # as above
            elif kind is float or kind is int:
                _check_number(value)  # type: ignore[arg-type]  # as above
        if not below:
            return keys
        level = below
    raise too_deep()


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ForbiddenCharacterError("A text contains the character NUL (U+0000); remove it.")


def _check_number(number: float) -> None:
    try:
        finite = isfinite(number)
    except OverflowError:  # an integer beyond float8
        finite = False
    if not finite:
        raise NotFiniteError("A number is not finite or too large for a 64-bit float; leave the value out.")


def _check_duplicate_keys(payload: bytes) -> None:
    """Decode once more and look at every pair. Slow, so only called where the count of colons leaves a doubt."""

    def check_pairs(pairs: list[tuple[str, object]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(f"The key {key[:64]!r} appears twice in one object; send each key once.")
            seen.add(key)

    stdlib_json.loads(payload.decode(), object_pairs_hook=check_pairs, parse_int=float)


def _explain(payload: bytes, problem: str) -> MessageError:
    """Name what is wrong with text that the decoder refused; Python's lenient one tells NaN and lone surrogates from nonsense."""
    constants: list[str] = []
    try:
        if "out of range" not in problem:
            stdlib_json.loads(payload.decode(), parse_constant=constants.append)
    except (ValueError, RecursionError):
        return MalformedJsonError(f"The message is not JSON ({problem}); send JSON as RFC 8259 has it.")
    if constants or "out of range" in problem:
        return NotFiniteError("A number is not finite or too large for a 64-bit float; leave the value out.")
    return NotUtf8Error("A text contains half of a surrogate pair; encode the whole character.")


def too_deep() -> TooDeepError:
    return TooDeepError(f"Lists and objects are nested deeper than {MAX_DEPTH} levels; send them flat.")
