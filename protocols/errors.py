"""Why a message is refused. Every error says what its sender has to change."""

from collections.abc import Mapping

from iiot_site.lib.errors import IIoTError


class MessageError(IIoTError):
    """A message that cannot be read as a whole. `code` becomes the reason of its rejection."""

    code = "invalid_message"


class CodecFailedError(MessageError):
    """A codec met a frame that its author did not foresee: our fault, and still this one message's."""

    code = "internal_error"


class MessageTooLargeError(MessageError):
    """More bytes than the platform takes in one message."""

    code = "too_large"
    http_status = 413


class UnsupportedFormatError(MessageError):
    """A content format that no codec reads."""

    code = "unsupported_format"
    http_status = 415


class NotUtf8Error(MessageError):
    """Bytes or escapes that are no Unicode text."""

    code = "not_utf8"


class MalformedJsonError(MessageError):
    """Not JSON (RFC 8259)."""

    code = "malformed_json"


class MalformedCborError(MessageError):
    """Not CBOR (RFC 8949), cut, or followed by more bytes."""

    code = "malformed_cbor"


class ForbiddenTagError(MessageError):
    """A CBOR tag beyond those listed: it could stand for anything."""

    code = "forbidden_tag"


class MalformedLineError(MessageError):
    """Not InfluxDB line protocol."""

    code = "malformed_line"


class MalformedSparkplugError(MessageError):
    """Not a Sparkplug B payload."""

    code = "malformed_sparkplug"


class UnknownAliasError(MessageError):
    """A metric that is named by a number which nobody has explained."""

    code = "unknown_alias"


class OtherDeviceError(MessageError):
    """A record that names another device than the one that sent it."""

    code = "other_device"


class RateLimitedError(MessageError):
    """More messages than a device or a tenant may send."""

    code = "rate_limited"
    http_status = 429


class TooDeepError(MessageError):
    """Lists and objects nested deeper than any telemetry needs."""

    code = "too_deep"


class NotFiniteError(MessageError):
    """A number that float8 cannot hold."""

    code = "not_finite"


class ForbiddenCharacterError(MessageError):
    """A character that the database cannot store."""

    code = "forbidden_character"


class DuplicateKeyError(MessageError):
    """One name twice in one object: which of the two is meant is anyone's guess."""

    code = "duplicate_key"


class TooManyValuesError(MessageError):
    """More values, or more messages, than the platform takes in one piece."""

    code = "too_many_values"


class InvalidShapeError(MessageError):
    """JSON, but none of the forms that telemetry has."""

    code = "invalid_shape"


class InvalidTimestampError(MessageError):
    """A time stamp that is neither ms since 1970 nor ISO 8601 with an offset."""

    code = "invalid_timestamp"


class MessageRefusedError(MessageError):
    """A message that came alone and was refused; `code` is the reason. An unknown device is 404, like anything unknown."""

    STATUSES = {"unknown_device": 404, "too_large": 413}

    def __init__(self, reason: str, detail: str, *, errors: Mapping[str, object] | None = None) -> None:
        super().__init__(detail, errors=errors)
        self.code = reason
        self.http_status = self.STATUSES.get(reason, 400)


class InvalidResponseError(MessageError):
    """An answer to a command, or a connection message, that is not of the documented form."""

    code = "invalid_shape"
