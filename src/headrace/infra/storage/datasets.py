"""Which file is which kind of table? CSV, JSON lines and Parquet on this machine, by the end of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from headrace.domain.errors import InvalidRequest
from headrace.domain.parameters import nearest
from headrace.domain.ports import Table, TableSink
from headrace.domain.tensors import TensorSpec
from headrace.infra.storage.csv_files import CsvSink, CsvTable
from headrace.infra.storage.jsonl_files import JsonLines, JsonLinesSink
from headrace.infra.storage.parquet_files import ParquetSink, ParquetTable
from headrace.infra.storage.replacement import storage_errors

READERS: Final[Mapping[str, Callable[[Path], Table]]] = {
    ".csv": CsvTable,
    ".csv.gz": CsvTable,
    ".jsonl": JsonLines,
    ".jsonl.gz": JsonLines,
    ".ndjson": JsonLines,
    ".ndjson.gz": JsonLines,
    ".parquet": ParquetTable,
}
WRITERS: Final[Mapping[str, Callable[[Path, Sequence[str], Mapping[str, TensorSpec]], TableSink]]] = {
    ".csv": CsvSink,
    ".csv.gz": CsvSink,
    ".jsonl": JsonLinesSink,
    ".jsonl.gz": JsonLinesSink,
    ".ndjson": JsonLinesSink,
    ".ndjson.gz": JsonLinesSink,
    ".parquet": ParquetSink,
}


class LocalTables:
    """Tables in files of this machine."""

    def open(self, place: str) -> Table:
        """The table in the file *place*."""
        return READERS[_format(place)](Path(place))

    def create(self, place: str, kept: Sequence[str], columns: Mapping[str, TensorSpec]) -> TableSink:
        """A new file *place*; what stands there is replaced once the new one is complete."""
        return WRITERS[_format(place)](Path(place), kept, columns)

    def remove(self, place: str) -> None:
        """Remove the file *place*, if there is one."""
        with storage_errors(Path(place), "removed"):
            Path(place).unlink(missing_ok=True)

    def same(self, one: str, other: str) -> bool:
        """Whether both names lead to one file."""
        return Path(one).resolve() == Path(other).resolve()

    def absolute(self, place: str) -> str:
        """The whole path of the file *place*."""
        return str(Path(place).absolute())


def _format(place: str) -> str:
    """The end of the name that tells the format. Raises InvalidRequest."""
    name = Path(place).name.lower()
    for suffix in READERS:
        if name.endswith(suffix):
            return suffix
    ending = "".join(Path(name).suffixes[-2:])
    raise InvalidRequest(
        f"{place}: the end of a name tells the format, and {ending or 'a name without an end'!r} is none"
        f"{nearest(ending, list(READERS))}; there are: {', '.join(READERS)}"
    )
