"""CBOR through the gate: one item, no tags but times and the self-description, no duplicate keys, plain values only.

Source: RFC 8949 §3.4 (tags), §5.6 (duplicate keys). Decoded by cbor2, which is told to be strict where it can be.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

import cbor2

from protocols.codecs.gate import MAX_DEPTH, check_size, check_values, too_deep
from protocols.errors import DuplicateKeyError, ForbiddenTagError, InvalidShapeError, MalformedCborError, MessageError, NotUtf8Error

ALLOWED_TAGS = frozenset({0, 1, 55799})  # a time as text, a time as number, "this is CBOR"
_FIRST_INT, _LAST_INT = -(2**63), 2**64 - 1
_PLAIN = frozenset({bool, int, float, str, type(None)})


class _OnlyAllowedTags(Mapping[int, Callable[..., Any]]):
    """Lets cbor2 decode the listed tags itself and refuses every other one."""

    def __getitem__(self, tag: int) -> Callable[..., Any]:
        if tag in ALLOWED_TAGS:
            raise KeyError(tag)

        def refuse(*_: object) -> Any:
            raise ForbiddenTagError(f"CBOR tag {tag} is not allowed; send plain values.")

        return refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_TAGS = _OnlyAllowedTags()


def parse_cbor(payload: bytes, *, max_bytes: int, labels: Mapping[int, str] | None = None) -> object:
    """Return the document in `payload` as plain Python values; `labels` name the keys that may be integers.

    Raises:
        MessageError: a subclass that names what is wrong.
    """
    check_size(payload, max_bytes=max_bytes)
    source = BytesIO(payload)
    try:
        decoder = cbor2.CBORDecoder(source, semantic_decoders=_TAGS, max_depth=MAX_DEPTH + 1, allow_duplicate_keys=False)
        raw = decoder.decode()
    except (cbor2.CBORError, RecursionError) as exc:
        raise _explain(exc) from exc
    if source.tell() != len(payload):
        raise MalformedCborError(f"{len(payload) - source.tell()} bytes follow the CBOR item; send one item in a message.")
    document = _make_plain(raw, labels or {})
    check_values(document)
    return document


def _make_plain(raw: object, labels: Mapping[int, str]) -> object:
    """Turn what cbor2 returns into the values that JSON has. It nests no deeper than the decoder let it."""
    if type(raw) is int and not _FIRST_INT <= raw <= _LAST_INT:
        return float(raw)  # as the JSON decoder does it
    if type(raw) in _PLAIN:
        return raw
    if isinstance(raw, list | tuple):  # inside a tag cbor2 returns what cannot be changed
        return [_make_plain(value, labels) for value in raw]
    if isinstance(raw, datetime):
        return raw.isoformat()
    if not isinstance(raw, Mapping):
        kind = "A byte string" if isinstance(raw, bytes) else "An undefined or unassigned value"
        raise InvalidShapeError(f"{kind} is no telemetry; send numbers, texts, true, false or null.")
    plain: dict[str, object] = {}
    for key, value in raw.items():
        name = labels.get(key) if type(key) is int else key
        if not isinstance(name, str):
            raise InvalidShapeError(f"The key {str(key)[:64]!r} is no text; name each value by a text.")
        if name in plain:
            raise DuplicateKeyError(f"The key {name[:64]!r} appears twice in one map; send each key once.")
        plain[name] = _make_plain(value, labels)
    return plain


def _explain(error: BaseException) -> MessageError:
    """Name what is wrong with bytes that cbor2 refused: the first cause that says more than that it did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MessageError):
            return type(cause)(cause.detail)
        if isinstance(cause, UnicodeDecodeError):
            return NotUtf8Error("A text is not UTF-8; encode it as UTF-8.")
        if isinstance(cause, RecursionError) or "nesting depth" in str(cause):
            return too_deep()
        if "Duplicate map key" in str(cause):
            return DuplicateKeyError("A key appears twice in one map; send each key once.")
        cause = cause.__cause__
    return MalformedCborError(f"The message is not CBOR ({str(error)[:120]}); send one item as RFC 8949 has it.")
