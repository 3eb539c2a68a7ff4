"""Messages as they come over HTTP: like on MQTT, but with the device's key inside, because there is no topic."""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.errors import InvalidShapeError, TooManyValuesError

MAX_MESSAGES = 1_000
_EXAMPLE = '{"device": "pump-7", "temperature": 21.5}'


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message of a request, at its place in the list; `fault` stands in where the device is not named."""

    index: int
    device: str
    content: dict[str, object]
    fault: str = ""


def read_envelopes(document: object, *, own_key: str | None) -> Sequence[Envelope]:
    """Take a request apart; `own_key` is the calling device, which need not name itself.

    Raises:
        InvalidShapeError: the request is neither a message nor a list of messages.
        TooManyValuesError: more messages than one request may bring.
    """
    if isinstance(document, dict):
        return [_read_envelope(0, document, own_key)]
    if not isinstance(document, list) or not document:
        raise InvalidShapeError(f"Send a message, such as {_EXAMPLE}, or a list of messages.")
    if len(document) > MAX_MESSAGES:
        raise TooManyValuesError(f"The request holds {len(document)} messages; send at most {MAX_MESSAGES}, in several requests.")
    return [_read_envelope(index, message, own_key) for index, message in enumerate(document)]


def _read_envelope(index: int, message: object, own_key: str | None) -> Envelope:
    if not isinstance(message, dict):
        return Envelope(index, "", {}, f"A message is an object, such as {_EXAMPLE}.")
    content = dict(message)
    device = content.pop("device", own_key)
    if not isinstance(device, str) or not device:
        return Envelope(index, "", content, f"Name the device by its key: {_EXAMPLE}.")
    return Envelope(index, device, content)
