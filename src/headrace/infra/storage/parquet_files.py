"""How are tables read from and written to Parquet? In record batches: no row group is ever in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.domain.batch import pick_rows
from headrace.domain.errors import InvalidConfig, InvalidInput
from headrace.domain.ports import Chunk, Unreadable, Values, Wanted
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.storage import arrow_columns
from headrace.infra.storage.replacement import Replacement, storage_errors

LARGEST_CHUNK: Final = 32 * 1024 * 1024
BUFFER: Final = 1024 * 1024
"""Bytes of a column read at a time; without it each column of a row group is read at once."""
GROUP_ROWS: Final = 65_536


def arrow_library() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``. Raises InvalidConfig naming what to install."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise InvalidConfig(
            "Parquet files want the package 'pyarrow', which is not installed: pip install 'headrace[parquet]'"
        ) from error


@contextmanager
def _parquet_errors(path: Path, arrow: Any) -> Iterator[None]:
    try:
        with storage_errors(path, "read"):
            yield
    except arrow.ArrowException as error:
        raise InvalidInput(
            f"{path} is no Parquet file, or a damaged one: {str(error).splitlines()[0][:200]}"
        ) from error


class ParquetTable:
    """A Parquet file to read, only in the columns that are asked for."""

    def __init__(self, path: Path) -> None:
        self._arrow, parquet = arrow_library()
        self._path = path
        with _parquet_errors(path, self._arrow):
            if path.is_dir():
                raise IsADirectoryError(None, "it is a folder; name one of the files in it")
            self._file = parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
            self._schema = self._file.schema_arrow
        names: list[str] = self._schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInput(f"{path} has several columns named {', '.join(map(repr, twice))}")
        self.columns: Sequence[str] = names
        self.rows: int | None = self._file.metadata.num_rows

    def chunks(self, wanted: Sequence[Wanted], keep: Sequence[str], rows: int) -> Iterator[Chunk]:
        """As in the port. Kept columns stay Arrow arrays."""
        for one in wanted:
            if why := arrow_columns.misfit(self._schema.field(one.column).type, one.spec, self._arrow):
                raise InvalidInput(f"{self._path}: column {one.column!r} {why}")
        names = list(dict.fromkeys([*(one.column for one in wanted), *keep]))
        rows = min(rows, self._fitting(names))
        first = 1
        with _parquet_errors(self._path, self._arrow):
            for batch in self._file.iter_batches(rows, columns=names, use_threads=False):
                yield self._chunk(batch, first, wanted, keep)
                first += batch.num_rows
        if first == 1:
            yield self._chunk(_no_rows(self._schema, names, self._arrow), first, wanted, keep)

    def _fitting(self, names: Sequence[str]) -> int:
        """How many rows of the columns *names* make a chunk of a bearable size, by the largest row group."""
        metadata = self._file.metadata
        wanted = set(names)
        fewest = GROUP_ROWS * 16
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            parts = (group.column(part) for part in range(group.num_columns))
            size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in wanted)
            if size and group.num_rows:
                fewest = min(fewest, max(1, LARGEST_CHUNK * group.num_rows // size))
        return fewest

    def _chunk(self, batch: Any, first: int, wanted: Sequence[Wanted], keep: Sequence[str]) -> Chunk:
        columns: dict[str, Column] = {}
        wrong: dict[int, str] = {}
        for one in wanted:
            columns[one.name], problems = arrow_columns.to_column(batch.column(one.column), one.spec, self._arrow)
            for position, problem in problems.items():
                wrong.setdefault(position, f"column {one.column!r} {problem}")
        numbers: Sequence[int] = range(first, first + batch.num_rows)
        read = min(1.0, (first - 1 + batch.num_rows) / self.rows) if self.rows else 1.0
        unreadable: dict[int, Unreadable] = {}
        if wrong:
            row = _originals(batch)
            unreadable = {first + at: Unreadable(InvalidInput(problem), row(at)) for at, problem in wrong.items()}
            good = [position for position in range(batch.num_rows) if position not in wrong]
            columns = {name: pick_rows(column, good) for name, column in columns.items()}
            numbers = [numbers[position] for position in good]
            batch = batch.take(arrow_columns.numbers(np.array(good, np.int64), self._arrow))
        return Chunk(numbers, columns, {name: batch.column(name) for name in keep}, _originals(batch), unreadable, read)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _no_rows(schema: Any, names: Sequence[str], arrow: Any) -> Any:
    fields = [schema.field(name) for name in names]
    return arrow.record_batch([arrow.array([], field.type) for field in fields], schema=arrow.schema(fields))


def _originals(batch: Any) -> Callable[[int], Any]:
    """The columns that were read: what a run over the mended row wants again."""
    return lambda position: batch.slice(position, 1).to_pylist()[0]


class ParquetSink:
    """A Parquet file to write: Snappy, row groups of about 64 k rows, dictionaries for text alone."""

    def __init__(self, path: Path, kept: Sequence[str], columns: Mapping[str, TensorSpec]) -> None:
        self._arrow, self._parquet = arrow_library()
        self._path = path
        self._specs: dict[str, TensorSpec | None] = {**dict.fromkeys(kept), **columns}
        self._types: dict[str, Any] = {}
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0
        self._empty: Mapping[str, Values] = {name: [] for name in self._specs}
        self._replacement = Replacement(path)

    def write(
        self, columns: Mapping[str, Column], kept: Mapping[str, Values], picks: Sequence[int] | None = None
    ) -> None:
        """As in the port. Arrays are fixed-size lists; objects and lists of anything are JSON text."""
        whole = {**{name: self._picked(column, picks) for name, column in kept.items()}, **columns}
        if len(next(iter(whole.values()), ())) == 0:
            self._empty = whole
            return
        if not self._types:
            self._settle(whole)
        self._append(whole)
        if self._rows >= GROUP_ROWS or self._bytes >= LARGEST_CHUNK:
            self._flush()

    def _append(self, whole: Mapping[str, Values]) -> None:
        arrays = [arrow_columns.to_arrow(name, whole[name], self._types[name], self._arrow) for name in self._specs]
        batch = self._arrow.record_batch(arrays, names=list(self._specs))
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def _picked(self, column: Values, picks: Sequence[int] | None) -> Values:
        if picks is None:
            return column
        if isinstance(column, self._arrow.Array):
            taken: Values = column.take(arrow_columns.numbers(np.array(picks, np.int64), self._arrow))
            return taken
        return pick_rows(column, picks) if isinstance(column, np.ndarray | list) else [column[row] for row in picks]

    def _settle(self, columns: Mapping[str, Values]) -> None:
        """Choose the types, by the first rows that there are."""
        for name, spec in self._specs.items():
            self._types[name] = arrow_columns.type_of(columns[name], spec, self._arrow)

    def _flush(self) -> None:
        with storage_errors(self._path, "written"):
            table = self._arrow.Table.from_batches(self._waiting)
            if self._writer is None:
                texts = [field.name for field in table.schema if self._arrow.types.is_string(field.type)]
                self._writer = self._parquet.ParquetWriter(
                    str(self._replacement.partial), table.schema, use_dictionary=texts or False
                )
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def finish(self) -> None:
        """Everything is written: bring it to the disk."""
        if self._writer is None and not self._waiting:
            self._settle(self._empty)
            self._append(self._empty)
        if self._waiting:
            self._flush()
        with storage_errors(self._path, "written"):
            self._writer.close()
        self._replacement.finish()

    def publish(self) -> None:
        """Show the file under its name."""
        self._replacement.publish()

    def abandon(self) -> None:
        """Leave no trace, unless it has been published."""
        if self._writer is not None:
            with suppress(OSError):  # a full disk has no room for the end of the file either
                self._writer.close()
        self._replacement.abandon()
