"""How are tables read from and written to JSON lines, one object a row, also as ``.jsonl.gz``?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.domain.errors import InvalidInput
from headrace.domain.ports import Chunk, Unreadable, Values, Wanted
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.storage.text_files import TextSink, TextSource
from headrace.infra.storage.texts import json_text, json_texts

LARGEST_LINE: Final = 64 * 1024 * 1024
LARGEST_CHUNK: Final = 8 * 1024 * 1024
"""Bytes of text in a chunk; as Python objects they take several times as much."""
SHOWN: Final = 2000
"""Characters of a line that is no JSON, as they go into an errors file."""

Row = dict[str, Any]


@dataclass(slots=True)
class _Rows:
    """The rows of one chunk, as they come."""

    first: int
    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    broken: dict[int, Unreadable] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows) + len(self.broken)


class JsonLines:
    """A file of JSON lines to read. A line that is no JSON object, or lacks a wanted value, fails alone."""

    rows: int | None = None
    columns: Sequence[str] | None = None

    def __init__(self, path: Path) -> None:
        self._source = TextSource(path)
        self._decoder = msgspec.json.Decoder()
        self._line = 0

    def chunks(self, wanted: Sequence[Wanted], keep: Sequence[str], rows: int) -> Iterator[Chunk]:
        """As in the port. A row that lacks a column to keep has null there."""
        first = 1
        while True:
            read, more = self._next(first, rows, wanted)
            if read or first == 1:
                columns: dict[str, Column] = {one.name: [_value(row, one) for row in read.rows] for one in wanted}
                kept = {name: [row.get(name) for row in read.rows] for name in keep}
                yield Chunk(read.numbers, columns, kept, _originals(read.rows), read.broken, self._source.read())
            first += len(read)
            if not more:
                return

    def _next(self, first: int, rows: int, wanted: Sequence[Wanted]) -> tuple[_Rows, bool]:
        """The next rows, and whether there are more."""
        read = _Rows(first)
        until = self._source.position() + LARGEST_CHUNK
        with self._source.errors():
            while len(read) < rows and self._source.position() < until:
                line = self._source.bytes.readline(LARGEST_LINE)
                if not line:
                    return read, False
                self._line += 1
                if not line.isspace():
                    self._take(line, read, wanted)
        return read, True

    def _take(self, line: bytes, read: _Rows, wanted: Sequence[Wanted]) -> None:
        number = read.first + len(read)
        original: Any = None
        try:
            original = line[:SHOWN].decode(errors="replace").rstrip()
            row = self._decoded(line)
            original = row
            for one in wanted:
                _readable(row, one)
        except InvalidInput as error:
            read.broken[number] = Unreadable(error, original)
            return
        read.rows.append(row)
        read.numbers.append(number)

    def _decoded(self, line: bytes) -> Row:
        if len(line) == LARGEST_LINE and not line.endswith(b"\n"):
            while (rest := self._source.bytes.readline(LARGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            raise InvalidInput(f"line {self._line} is longer than {LARGEST_LINE >> 20} MB")
        try:
            row = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"line {self._line} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise InvalidInput(f"line {self._line} is no JSON object with the names of columns and their values")
        return row

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


def _readable(row: Row, one: Wanted) -> None:
    """Raise InvalidInput unless *row* has the column; bytes are decoded when the column is made."""
    if one.column not in row:
        if not one.spec.optional:
            raise InvalidInput(f"the row lacks {one.column!r}; it has: {', '.join(row) or 'nothing'}")
    elif one.spec.dtype in ("bytes", "any") and isinstance(row[one.column], dict):
        _unwrapped(row[one.column], one.column)


def _value(row: Row, one: Wanted) -> Any:
    if one.column not in row:
        return one.spec.default
    value = row[one.column]
    if one.spec.dtype in ("bytes", "any") and isinstance(value, dict):
        return _unwrapped(value, one.column)
    return value


def _unwrapped(value: Row, column: str) -> Any:
    """The bytes of ``{"base64": ".."}``; any other object as it is."""
    if value.keys() != {"base64"}:
        return value
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidInput(f"column {column!r} is not valid base64") from None


def _originals(rows: Sequence[Row]) -> Callable[[int], Any]:
    return lambda position: rows[position]


class JsonLinesSink(TextSink):
    """A file of JSON lines to write."""

    def __init__(self, path: Path, kept: Sequence[str], columns: Mapping[str, TensorSpec]) -> None:
        super().__init__(path)
        self._keys = {name: f"{json_text(name)}:" for name in [*kept, *columns]}

    def write(
        self, columns: Mapping[str, Column], kept: Mapping[str, Values], picks: Sequence[int] | None = None
    ) -> None:
        """As in the port. Nested values stay nested; NaN and infinity are null."""
        texts = {name: json_texts(column) for name, column in columns.items()}
        for name, column in kept.items():
            whole = json_texts(column)
            texts[name] = whole if picks is None else [whole[row] for row in picks]
        values = [[key + text for text in texts[name]] for name, key in self._keys.items()]
        lines = [f"{{{','.join(row)}}}\n" for row in zip(*values, strict=True)]
        self.append("".join(lines))
