"""The protobuf messages of Sparkplug B, as far as telemetry needs them; fields not named here are skipped.

Source: Eclipse Sparkplug 3.0.0 §6.4 (payload, metrics, data types), protobuf encoding. Described here in Python, so that
no generated code lies about. Clients of the Tahu family compress on request: the payload then stands in the body of another one,
whose uuid says so (`SPBV1.0_COMPRESSED`; zlib or gzip).
"""

import zlib
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_LABEL_OPTIONAL, _LABEL_REPEATED = 1, 3
_TYPES = {"double": 1, "float": 2, "uint64": 4, "bool": 8, "string": 9, "message": 11, "bytes": 12, "uint32": 13}

# name: number, type, message type ("" for scalars), is repeated, is in the oneof
_PAYLOAD = {"timestamp": (1, "uint64", "", False, False), "metrics": (2, "message", "Metric", True, False)}
_PAYLOAD |= {"seq": (3, "uint64", "", False, False), "uuid": (4, "string", "", False, False), "body": (5, "bytes", "", False, False)}
COMPRESSED = "SPBV1.0_COMPRESSED"
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_METRIC = {
    "name": (1, "string", "", False, False),
    "alias": (2, "uint64", "", False, False),
    "timestamp": (3, "uint64", "", False, False),
    "datatype": (4, "uint32", "", False, False),
    "is_historical": (5, "bool", "", False, False),
    "is_transient": (6, "bool", "", False, False),
    "is_null": (7, "bool", "", False, False),
    "properties": (9, "message", "PropertySet", False, False),
    "int_value": (10, "uint32", "", False, True),
    "long_value": (11, "uint64", "", False, True),
    "float_value": (12, "float", "", False, True),
    "double_value": (13, "double", "", False, True),
    "boolean_value": (14, "bool", "", False, True),
    "string_value": (15, "string", "", False, True),
    "bytes_value": (16, "bytes", "", False, True),
}
_PROPERTY_SET = {"keys": (1, "string", "", True, False), "values": (2, "message", "PropertyValue", True, False)}
_PROPERTY_VALUE = {
    "type": (1, "uint32", "", False, False),
    "is_null": (2, "bool", "", False, False),
    "int_value": (3, "uint32", "", False, True),
    "long_value": (4, "uint64", "", False, True),
    "string_value": (8, "string", "", False, True),
}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="iiot/sparkplug_b.proto", package="iiot.sparkplug", syntax="proto2")
    messages = {"Payload": _PAYLOAD, "Metric": _METRIC, "PropertySet": _PROPERTY_SET, "PropertyValue": _PROPERTY_VALUE}
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        if any(in_oneof for *_, in_oneof in fields.values()):
            message.oneof_decl.add(name="value")
        for field_name, (number, kind, type_name, is_repeated, in_oneof) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = _LABEL_REPEATED if is_repeated else _LABEL_OPTIONAL  # type: ignore[assignment]  # the enum's numbers
            field.type = _TYPES[kind]  # type: ignore[assignment]  # as above
            if type_name:
                field.type_name = f".iiot.sparkplug.{type_name}"
            if in_oneof:
                field.oneof_index = 0
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_describe())
Payload: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("iiot.sparkplug.Payload"))


def parse_payload(frame: bytes, *, max_bytes: int) -> Any | None:
    """Return the message in a frame, unpacked if it is compressed; None where it is none, or names something in other than UTF-8.

    What unpacks to more than `max_bytes`, or to something compressed, is none.
    """
    payload = _parse(frame)
    if payload is None or payload.uuid != COMPRESSED:
        return payload
    unpacked = _unpack(payload.body, max_bytes)
    inner = None if unpacked is None else _parse(unpacked)
    return None if inner is None or inner.uuid == COMPRESSED else inner


def _unpack(body: bytes, max_bytes: int) -> bytes | None:
    """Return what was compressed; None where it is no stream, not whole, or too large."""
    unpacking = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        unpacked = unpacking.decompress(body, max_bytes + 1)
    except zlib.error:
        return None
    return unpacked if unpacking.eof and len(unpacked) <= max_bytes else None


def _parse(frame: bytes) -> Any | None:
    payload = Payload()
    try:
        payload.ParseFromString(frame)
    except (DecodeError, UnicodeDecodeError):
        return None
    # Python's protobuf gives a proto2 string that is no UTF-8 as bytes.
    return payload if all(isinstance(metric.name, str) for metric in payload.metrics) else None
