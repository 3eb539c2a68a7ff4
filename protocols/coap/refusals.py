"""What a device is told when its request fails: a response code (RFC 7252 §5.9) and a line for people. Pure."""

from dataclasses import dataclass

from protocols.types import Refusal

_CLASS = 32


def code_of(major: int, minor: int) -> int:
    """Return a code's number: 4.04 is `code_of(4, 4)`."""
    return major * _CLASS + minor


CHANGED = code_of(2, 4)
CONTENT = code_of(2, 5)
CONTINUE = code_of(2, 31)
BAD_REQUEST = code_of(4, 0)
UNAUTHORIZED = code_of(4, 1)
BAD_OPTION = code_of(4, 2)
FORBIDDEN = code_of(4, 3)
NOT_FOUND = code_of(4, 4)
METHOD_NOT_ALLOWED = code_of(4, 5)
NOT_ACCEPTABLE = code_of(4, 6)
ENTITY_INCOMPLETE = code_of(4, 8)
CONFLICT = code_of(4, 9)  # RFC 8132
ENTITY_TOO_LARGE = code_of(4, 13)
UNSUPPORTED_FORMAT = code_of(4, 15)
TOO_MANY_REQUESTS = code_of(4, 29)  # RFC 8516
INTERNAL_ERROR = code_of(5, 0)
SERVICE_UNAVAILABLE = code_of(5, 3)
PROXYING_NOT_SUPPORTED = code_of(5, 5)

MAX_DETAIL_BYTES = 240
_CODES = {
    "too_large": ENTITY_TOO_LARGE,
    "unsupported_format": UNSUPPORTED_FORMAT,
    "rate_limited": TOO_MANY_REQUESTS,
    "device_disabled": FORBIDDEN,
    "unknown_device": FORBIDDEN,
    "unknown_tenant": FORBIDDEN,
    "unknown_command": NOT_FOUND,
    "illegal_command_event": CONFLICT,
    "internal_error": INTERNAL_ERROR,
    "tenant_unavailable": SERVICE_UNAVAILABLE,
}


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Ends a request with this answer. `max_age` is in seconds when to come again, `size1` the bytes that a request may have."""

    def __init__(self, reason: str, detail: str = "", *, code: int = BAD_REQUEST, max_age: int | None = None) -> None:
        super().__init__(reason)
        self.answer = Answer(code, f"{reason}: {detail}" if detail else "", max_age)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without content. `size1` says how many bytes a request may have."""

    code: int
    text: str = ""
    max_age: int | None = None
    size1: int | None = None

    @property
    def payload(self) -> bytes:
        """The text in as many bytes as fit every datagram, cut between characters."""
        return self.text.encode()[:MAX_DETAIL_BYTES].decode(errors="ignore").encode()


STORED = Answer(CHANGED)
BUSY = Answer(SERVICE_UNAVAILABLE, max_age=2)
# In a few bytes, since a sender's address can be forged; the same whatever is wrong with the token.
NOT_LET_IN = Answer(UNAUTHORIZED, "no valid device token in the query: ?token=iiot_dev_...")


def answer_refused(refusal: Refusal, *, max_bytes: int) -> Answer:
    """Return the answer to a message of which nothing was stored."""
    code = _CODES.get(refusal.reason, BAD_REQUEST)
    return Answer(
        code,
        f"{refusal.reason}: {refusal.detail}",
        max_age=2 if code == TOO_MANY_REQUESTS else None,
        size1=max_bytes if code == ENTITY_TOO_LARGE else None,
    )


def answer_partly_stored(refusal: Refusal) -> Answer:
    """Return the answer to a message of which some values were stored; `refusal` is the first of the others."""
    return Answer(CHANGED, f"{refusal.reason}: {refusal.detail}")
