"""Reads a CSV file of devices into rows, each with the errors it has by itself (RFC 4180). Pure."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 5 * 1024 * 1024
MAX_ROWS = 10_000
MAX_CELL_CHARACTERS = 4000
COLUMNS = ("key", "type", "name", "site", "gateway", "protocol", "tags", "firmware", "latitude", "longitude", "enabled")
REQUIRED = ("key", "type")
_DELIMITERS = ",;\t"
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class UnreadableFileError(ValueError):
    """The file as a whole cannot be taken; the message says what to change."""


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in one line of the file (the header is line 1); `column` is empty where no single one is to blame."""

    line: int
    column: str
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line: texts by column for what other rows of the database decide, and values that are ready."""

    line: int
    texts: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    errors: tuple[RowError, ...] = ()


def read_rows(content: bytes) -> list[Row]:
    """Return the file's rows.

    Raises:
        UnreadableFileError: too large, no UTF-8, NUL in it, unknown or missing columns, or too many rows.
    """
    text = _decode(content)
    if not text.strip():
        raise UnreadableFileError("The file is empty. Begin with a header such as: key,type,name,site")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_find_delimiter(text), strict=True)
    rows: list[Row] = []
    try:
        header = _read_header(next(reader))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MAX_ROWS:
                raise UnreadableFileError(f"The file has more than {MAX_ROWS} devices. Split it.")
            rows.append(_read_row(reader.line_num, header, cells))
    except csv.Error as exc:
        raise UnreadableFileError(f"Line {reader.line_num} is no CSV: {exc}.") from exc
    if not rows:
        raise UnreadableFileError("The file has a header and no devices.")
    return rows


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise UnreadableFileError(f"The file is larger than {MAX_BYTES // 1024 // 1024} MB. Split it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UnreadableFileError(f"The file is not UTF-8 (byte {exc.start + 1}). Save it as “CSV UTF-8”.") from exc
    if "\0" in text:
        raise UnreadableFileError("The file contains NUL (U+0000): it is no text, or UTF-16. Save it as “CSV UTF-8”.")
    return text


def _find_delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=header.count)


def _read_header(cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if unknown := [name for name in header if name not in COLUMNS]:
        raise UnreadableFileError(f"Unknown column {unknown[0][:60]!r}. Columns are {', '.join(COLUMNS)}.")
    if len(set(header)) != len(header):
        raise UnreadableFileError("A column stands twice in the header.")
    if missing := [name for name in REQUIRED if name not in header]:
        raise UnreadableFileError(f"The column {missing[0]!r} is missing.")
    return header


def _read_row(line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) > len(header):
        return Row(line, {}, errors=(RowError(line, "", f"The line has {len(cells)} cells and the header {len(header)}."),))
    texts = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
    errors = [RowError(line, name, "This must be filled in.") for name in REQUIRED if not texts.get(name)]
    errors += [RowError(line, name, "This is too long.") for name, text in texts.items() if len(text) > MAX_CELL_CHARACTERS]
    values: dict[str, Any] = {}
    for name, read in _READERS.items():
        if texts.get(name):
            try:
                values[name] = read(texts[name])
            except ValueError as exc:
                errors.append(RowError(line, name, str(exc)))
    return Row(line, texts, values, tuple(errors))


def _read_number(text: str) -> float:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("This is no number.")
    return number


def _read_flag(text: str) -> bool:
    lower = text.lower()
    if lower not in _TRUE | _FALSE:
        raise ValueError("Write yes or no.")
    return lower in _TRUE


def _read_tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.replace("|", ";").split(";") if tag.strip()]


_READERS: dict[str, Callable[[str], object]] = {
    "latitude": _read_number,
    "longitude": _read_number,
    "enabled": _read_flag,
    "tags": _read_tags,
}
