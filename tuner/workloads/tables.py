"""A column of a table as documents, one per row: CSV, JSON lines and Parquet.

The one rule: a row that cannot be read stops the study with its place; only rows whose text is empty are left out.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError, DataError

SUFFIXES = (".csv", ".jsonl", ".parquet")
_SHOWN_COLUMNS = 12


def column_texts(path: Path, column: str) -> list[tuple[int, str]]:
    """The texts of a column with their row numbers from 1, empty ones too.

    Raises:
        ConfigError: a kind of file that is no table, no such column, or Parquet without pyarrow.
        DataError: a file that cannot be read, is not UTF-8, or has a broken row.
    """
    readers = {".csv": _csv_texts, ".jsonl": _json_texts, ".parquet": _parquet_texts}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(
            f"workload.text_column={column}: {path.name} is no table that has columns; use {', '.join(SUFFIXES)}, or "
            "remove text_column to read whole files"
        )
    try:
        return list(enumerate(reader(path, column), start=1))
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"workload.text: {path} cannot be read ({reason}); check its permissions") from None


def _csv_texts(path: Path, column: str) -> Iterator[str]:
    """Comma-separated, quoted by `"`, the first row names the columns."""
    # The library's own limit of 128 KiB per field is below the length of a book.
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    try:
        header = next(rows, [])
        place = _place(column, header, path)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"workload.text: {path}:{rows.line_num} has {len(row)} fields, the first line {len(header)}; "
                    'put texts with commas in quotes: "..."'
                )
            yield row[place]
    except csv.Error as error:
        raise DataError(f"workload.text: {path}:{rows.line_num} is no CSV ({error}); mend the line") from None


def _json_texts(path: Path, column: str) -> Iterator[str]:
    """One JSON object per line; blank lines are no rows, null is an empty text."""
    columns: dict[str, None] = {}
    rows: list[tuple[int, Mapping[str, Any]]] = []
    # Lines end at \n alone: a text may hold other separators, U+2028 among them.
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if line.strip():
            rows.append((number, _json_row(path, number, line)))
            columns |= dict.fromkeys(rows[-1][1])
    _place(column, list(columns), path)
    for number, row in rows:
        if column not in row:
            raise DataError(
                f"workload.text: {path}:{number} has no {column!r}, other lines have; add it, null if there is no text"
            )
        yield _text(row[column], f"{path}:{number}", column)


def _json_row(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"workload.text: {path}:{number} is no JSON ({reason}); mend the line") from None
    if not isinstance(row, dict):
        raise DataError(f'workload.text: {path}:{number} is no JSON object; write {{"column": "text"}} on each line')
    return row


def _parquet_texts(path: Path, column: str) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ConfigError(
            f"workload.text: {path.name} needs pyarrow, which is not installed; pip install 'tuner[parquet]', or write "
            "the table as CSV or JSON lines"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _place(column, file.schema_arrow.names, path)
            values = file.read(columns=[column]).column(column).to_pylist()
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"workload.text: {path} is no Parquet file ({reason}); write it again") from None
    for number, value in enumerate(values, start=1):
        yield _text(value, f"{path}, row {number}", column)


def _text(value: Any, place: str, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"workload.text: {place}: {column!r} holds a {type(value).__name__}, not text; name a column of texts"
        )
    return value


def _place(column: str, columns: Sequence[str], path: Path) -> int:
    """Where the column stands.

    Raises:
        ConfigError: it is not there, or twice.
    """
    if list(columns).count(column) == 1:
        return list(columns).index(column)
    start = f"workload.text_column={column}: {path}"
    if column in columns:
        raise ConfigError(f"{start} has {list(columns).count(column)} columns of that name; rename all but one")
    if not columns:
        raise ConfigError(f"{start} has no columns at all; give a table with a first line of names, or with rows")
    close = difflib.get_close_matches(column, columns, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
    raise ConfigError(f"{start} has no such column; {hint}it has {', '.join(columns[:_SHOWN_COLUMNS])}{more}")


def _decoded(path: Path) -> str:
    """The file's text without the byte-order mark that spreadsheets write."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"workload.text: {path}:{line} is not UTF-8; convert the file") from None
