"""Answers that are longer than memory: a file, piece by piece, as fast as the client takes it."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, StreamingHttpResponse
from django_tenants.utils import schema_context

from iiot_site.lib.schemas import current_schema

_MAX_NAME = 100


def stream_file(request: HttpRequest, pieces: Iterator[bytes], *, name: str, content_type: str) -> StreamingHttpResponse:
    """Answer with a file. The pieces are made after the view has returned: each in the schema that is current now.

    Under ASGI the database connection goes back to the pool between two pieces, however slowly the client reads.
    """
    schema = current_schema()
    content = _stream_async(pieces, schema) if isinstance(request, ASGIRequest) else _stream(pieces, schema)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingHttpResponse(content, content_type=content_type, headers=headers)


def _take_piece(pieces: Iterator[bytes], schema: str) -> bytes | None:
    with schema_context(schema):
        return next(pieces, None)


def _take_piece_and_let_go(pieces: Iterator[bytes], schema: str) -> bytes | None:
    try:
        return _take_piece(pieces, schema)
    finally:
        close_old_connections()


def _stream(pieces: Iterator[bytes], schema: str) -> Iterator[bytes]:
    while (piece := _take_piece(pieces, schema)) is not None:
        yield piece


async def _stream_async(pieces: Iterator[bytes], schema: str) -> AsyncIterator[bytes]:
    take = sync_to_async(_take_piece_and_let_go)
    while (piece := await take(pieces, schema)) is not None:
        yield piece


def file_name(parts: list[str], start: datetime, end: datetime, extension: str) -> str:
    """Return a name made of letters, digits, hyphens and underscores, such as `pump-7_temperature_20261120T0800Z_20261121T0800Z.csv`."""
    plain = "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") or "x" for part in parts)[:_MAX_NAME]
    return f"{plain}_{start:%Y%m%dT%H%MZ}_{end:%Y%m%dT%H%MZ}.{extension}"
