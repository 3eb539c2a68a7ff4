"""The API's JSON parser: as strict about size and shape as the doors for devices."""

import json
from typing import Any

from django.conf import settings
from rest_framework import exceptions, status
from rest_framework.parsers import BaseParser

_HALF_CHARACTERS = frozenset(map(chr, range(0xD800, 0xE000)))


class BodyTooLargeError(exceptions.APIException):
    """More than the API takes in one request."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request is too large; send less at once."
    default_code = "too_large"


class StrictJSONParser(BaseParser):
    """Reads at most IIOT_MAX_MESSAGE_BYTES of UTF-8 JSON without NaN, NUL and halves of surrogate pairs."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the document.

        Raises:
            BodyTooLargeError: the body has too many bytes.
            ParseError: it is no such JSON; the message says why.
        """
        body = stream.read(settings.IIOT_MAX_MESSAGE_BYTES + 1)
        if len(body) > settings.IIOT_MAX_MESSAGE_BYTES:
            raise BodyTooLargeError
        try:
            text = body.decode("utf-8")
            document = json.loads(text, parse_constant=_refuse_constant)
        except RecursionError as exc:
            raise exceptions.ParseError("Lists and objects are nested too deeply; send them flat.") from exc
        except ValueError as exc:
            raise exceptions.ParseError(f"The body is not JSON: {exc}") from exc
        if "\\u" in text or "\0" in text:
            _check_characters(document)
        return document


class MergePatchParser(StrictJSONParser):
    """The same for patches that name themselves (RFC 7396 §4)."""

    media_type = "application/merge-patch+json"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


def _check_characters(document: Any) -> None:
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest.extend(value)
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, str) and ("\0" in value or not _HALF_CHARACTERS.isdisjoint(value)):
            raise exceptions.ParseError("A text contains NUL (U+0000) or half of a surrogate pair; remove it.")
