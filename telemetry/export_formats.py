"""Rows as CSV (RFC 4180) and as Apache Parquet with zstd, piece by piece."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

from iiot_site.lib.csv_cells import neutralise
from iiot_site.lib.times import format_time

ROW_GROUP_ROWS = 100_000

Rows = Sequence[tuple[Any, ...]]


class Kind(Enum):
    """What stands in a column."""

    TEXT = "text"
    TIME = "time"
    NUMBER = "number"
    INTEGER = "integer"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an export."""

    name: str
    kind: Kind


def encode_csv(columns: Sequence[Column], batches: Iterable[Rows]) -> Iterator[bytes]:
    """Yield a header and the rows; times as ISO 8601 UTC, what is missing as nothing, texts so that no spreadsheet runs them."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(column.name for column in columns)
    yield text.getvalue().encode()
    writers: dict[Kind, Callable[[Any], Any]] = {Kind.TEXT: _neutralise_text, Kind.TIME: format_time}
    write = [writers.get(column.kind, _as_it_is) for column in columns]
    for batch in batches:
        text.seek(0)
        text.truncate()
        writer.writerows([fit(value) for fit, value in zip(write, row, strict=True)] for row in batch)
        yield text.getvalue().encode()


def _neutralise_text(value: str | None) -> str | None:
    return value and neutralise(value)


def _as_it_is(value: Any) -> Any:
    return value


def encode_parquet(columns: Sequence[Column], batches: Iterable[Rows]) -> Iterator[bytes]:
    """Yield a Parquet file: zstd, dictionaries for texts, times in microseconds UTC, row groups of about 100,000 rows."""
    # Only who exports pays for it: importing takes a tenth of a second and 60 MB.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([(column.name, _arrow_type(pa, column.kind)) for column in columns])
    pending: list[tuple[Any, ...]] = []
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for batch in batches:
            pending += batch
            if len(pending) >= ROW_GROUP_ROWS:
                writer.write_table(_table(pa, schema, pending))
                pending = []
                yield sink.drain()
        if pending:
            writer.write_table(_table(pa, schema, pending))
    yield sink.drain()


class _Sink(io.RawIOBase):
    """Takes what is written, hands it on, and still knows how far into the file it is."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def drain(self) -> bytes:
        """Return what came since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _arrow_type(pa: ModuleType, kind: Kind) -> Any:
    return {
        Kind.TEXT: pa.dictionary(pa.int32(), pa.string()),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.NUMBER: pa.float64(),
        Kind.INTEGER: pa.int64(),
    }[kind]


def _table(pa: ModuleType, schema: Any, rows: Rows) -> Any:
    columns = list(zip(*rows, strict=True))
    return pa.table([pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
