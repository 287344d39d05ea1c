"""How are tables read from and written to CSV (RFC 4180: commas, quotes doubled, a header), also as ``.csv.gz``?"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from headrace.domain.batch import pick_rows
from headrace.domain.errors import InvalidInput
from headrace.domain.ports import Chunk, Unreadable, Values, Wanted
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.storage.csv_cells import no_utf8, typed
from headrace.infra.storage.text_files import TextSink, TextSource
from headrace.infra.storage.texts import csv_texts

LARGEST_CELL: Final = 64 * 1024 * 1024
LARGEST_CHUNK: Final = 8 * 1024 * 1024
"""Bytes of text in a chunk; as Python objects they take several times as much."""
AT_ONCE: Final = 64
"""Rows read between two looks at how large the chunk has become."""

Cells = list[str]


class CsvTable:
    """A CSV file to read. A row of the wrong length, with bad quoting or a bad cell fails alone."""

    rows: int | None = None

    def __init__(self, path: Path) -> None:
        self._source = TextSource(path)
        self._path = path
        # The limit is the module's, not the reader's; a raised one harms nobody.
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
        self._reader = csv.reader(self._source.text(), strict=True)
        try:
            self.columns: Sequence[str] = self._header()
        except BaseException:
            self.close()
            raise

    def _header(self) -> Cells:
        with self._source.errors():
            try:
                names = next((row for row in self._reader if row), None)
            except csv.Error as error:
                raise InvalidInput(f"{self._path}: the header is no CSV: {error}") from None
        if names is None:
            raise InvalidInput(f"{self._path} is empty; the first line of a CSV file names its columns")
        if no_utf8(names):
            raise InvalidInput(f"{self._path}: the names of the columns are not UTF-8")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInput(f"{self._path} has several columns named {', '.join(map(repr, twice))}")
        return names

    def chunks(self, wanted: Sequence[Wanted], keep: Sequence[str], rows: int) -> Iterator[Chunk]:
        """As in the port. Kept columns stay text."""
        first = 1
        while True:
            lines, broken, more = self._lines(first, rows)
            count = len(lines) + len(broken)
            if count or first == 1:
                yield self._chunk(lines, broken, first, wanted, keep)
            first += count
            if not more:
                return

    def _lines(self, first: int, rows: int) -> tuple[list[Cells], dict[int, Unreadable], bool]:
        """The next rows, those that are no CSV by number, and whether there are more."""
        lines: list[Cells] = []
        broken: dict[int, Unreadable] = {}
        until = self._source.position() + LARGEST_CHUNK
        with self._source.errors():
            while (left := rows - len(lines) - len(broken)) > 0 and self._source.position() < until:
                taken: list[Cells] = []
                problem: csv.Error | None = None
                try:
                    taken.extend(islice(self._reader, min(AT_ONCE, left)))  # keeps what came before an error
                except csv.Error as error:
                    problem = error
                lines.extend(row for row in taken if row)  # a blank line is no row
                if problem is not None:
                    broken[first + len(lines) + len(broken)] = self._broken(problem)
                elif not taken:
                    return lines, broken, False
        return lines, broken, True

    def _broken(self, error: csv.Error) -> Unreadable:
        line = self._reader.line_num
        if "unexpected end" in str(error) or "field limit" in str(error):
            # What follows the opening quote was all taken for one cell: how many rows it held, nobody knows.
            raise InvalidInput(f"{self._path}: a quote is opened and never closed, in or before line {line}") from None
        return Unreadable(InvalidInput(f"line {line} is no CSV: {error}"), None)

    def _chunk(
        self,
        lines: list[Cells],
        broken: dict[int, Unreadable],
        first: int,
        wanted: Sequence[Wanted],
        keep: Sequence[str],
    ) -> Chunk:
        numbers: Sequence[int] = range(first, first + len(lines))
        if broken:
            numbers = [number for number in range(first, first + len(lines) + len(broken)) if number not in broken]
        width = len(self.columns)
        if any(len(row) != width for row in lines):
            wrong = {position: self._wrong_length(row) for position, row in enumerate(lines) if len(row) != width}
            lines, numbers = self._without(lines, numbers, wrong, broken)
        return self._typed(lines, numbers, broken, wanted, keep)

    def _wrong_length(self, row: Cells) -> str:
        return f"the row has {len(row)} cells; the header names {len(self.columns)}"

    def _typed(
        self,
        lines: list[Cells],
        numbers: Sequence[int],
        broken: dict[int, Unreadable],
        wanted: Sequence[Wanted],
        keep: Sequence[str],
    ) -> Chunk:
        place = {name: index for index, name in enumerate(self.columns)}
        columns: dict[str, Column] = {}
        wrong: dict[int, str] = {}
        for one in wanted:
            cells = [row[place[one.column]] for row in lines]
            columns[one.name], problems = typed(cells, one.spec)
            problems.update(dict.fromkeys(no_utf8(cells), "is not UTF-8"))
            for position, problem in problems.items():
                wrong.setdefault(position, f"column {one.column!r} {problem}")
        kept = {name: [row[place[name]] for row in lines] for name in keep}
        for name, cells in kept.items():
            for position in no_utf8(cells):
                wrong.setdefault(position, f"column {name!r} is not UTF-8")
        if wrong:
            good = [position for position in range(len(lines)) if position not in wrong]
            columns = {name: pick_rows(column, good) for name, column in columns.items()}
            kept = {name: [cells[position] for position in good] for name, cells in kept.items()}
            lines, numbers = self._without(lines, numbers, wrong, broken)
        return Chunk(numbers, columns, kept, self._original(lines), broken, self._source.read())

    def _without(
        self, lines: list[Cells], numbers: Sequence[int], wrong: Mapping[int, str], broken: dict[int, Unreadable]
    ) -> tuple[list[Cells], list[int]]:
        """The rows less the *wrong* ones (by position), which join the *broken*."""
        original = self._original(lines)
        for position, problem in wrong.items():
            number = numbers[position]
            broken[number] = Unreadable(InvalidInput(problem), original(position))
        good = [position for position in range(len(lines)) if position not in wrong]
        return [lines[position] for position in good], [numbers[position] for position in good]

    def _original(self, lines: Sequence[Cells]) -> Callable[[int], Any]:
        def row(position: int) -> Any:
            cells = [cell.encode(errors="surrogateescape").decode(errors="replace") for cell in lines[position]]
            return dict(zip(self.columns, cells, strict=True)) if len(cells) == len(self.columns) else cells

        return row

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()


class CsvSink(TextSink):
    """A CSV file to write, with a header and lines that end in a line feed."""

    def __init__(self, path: Path, kept: Sequence[str], columns: Mapping[str, TensorSpec]) -> None:
        super().__init__(path)
        self._names = [*kept, *columns]
        self._write([self._names])

    def write(
        self, columns: Mapping[str, Column], kept: Mapping[str, Values], picks: Sequence[int] | None = None
    ) -> None:
        """As in the port. What is no number and no text stands in its cell as JSON."""
        cells = {name: csv_texts(column) for name, column in columns.items()}
        for name, column in kept.items():
            texts = csv_texts(column)
            cells[name] = texts if picks is None else [texts[row] for row in picks]
        self._write(list(zip(*(cells[name] for name in self._names), strict=True)))

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        text = _csv(rows, csv.QUOTE_MINIMAL)
        # Python's writer leaves a lone carriage return unquoted where lines end in a line feed.
        self.append(_csv(rows, csv.QUOTE_ALL) if "\r" in text else text)


def _csv(rows: Sequence[Sequence[str]], quoting: Literal[0, 1]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(rows)
    return text.getvalue()
