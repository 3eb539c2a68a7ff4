"""What devices read: JSON or CBOR, with an entity tag, in blocks. Pure."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import cbor2
import msgspec
from aiocoap import Message

from protocols.coap.blocks import LARGEST_EXPONENT, cut_block
from protocols.coap.refusals import CONTENT, NOT_ACCEPTABLE, Refused, code_of
from protocols.coap.requests import Asked

JSON, CBOR = 50, 60
_VALID = code_of(2, 3)
_ENCODERS: dict[int, Callable[[object], bytes]] = {JSON: msgspec.json.encode, CBOR: cbor2.dumps}


def expect_format(asked: Asked) -> None:
    """Raises: Refused: 4.06, we do not have the format that is asked for."""
    if asked.accept not in (None, JSON, CBOR):
        raise Refused("not_acceptable", "The formats are 50 (JSON) and 60 (CBOR).", code=NOT_ACCEPTABLE)


def encode(document: Mapping[str, Any], asked: Asked) -> bytes:
    """Return the document in the format that was asked for."""
    return _ENCODERS[asked.accept or JSON](document)


def render(content: bytes, asked: Asked) -> Any:
    """Return the response: the content or a block of it, or 2.03 where the device has it already."""
    etag = hashlib.blake2b(content, digest_size=8).digest()
    if etag in asked.etags:
        return Message(code=_VALID, etag=etag)
    payload, block = cut_block(content, asked.block2, exponent=LARGEST_EXPONENT)
    message = Message(code=CONTENT, payload=payload, content_format=asked.accept or JSON, etag=etag, max_age=0)
    if block is not None:
        message.opt.block2 = (block.number, block.more, block.exponent)
    return message


def wants_to_observe(asked: Asked) -> bool:
    """Tell whether a request asks for notifications, too (RFC 7641 §2); one for a later block does not."""
    return asked.observe == 0 and (asked.block2 is None or asked.block2.number == 0)
