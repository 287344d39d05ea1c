"""The ports: what Headrace asks of the outside world, as protocols that infra implements."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.domain.errors import EngineError
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec, StreamSpec
from headrace.domain.tensors import Column, TensorSpec

if TYPE_CHECKING:
    from headrace.domain.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Declared:
    """Everything that a workspace declares, checked as far as it can be without loading a model.

    *models* are by (name, version). *aliases* map other names of a pipeline (its file's stem) to its own.
    *default* is the pipeline of a request that names none. A model that no pipeline is named after stands among
    the *pipelines* too, with no steps.
    """

    pipelines: Mapping[PipelineRef, PipelineSpec] = field(default_factory=dict)
    models: Mapping[tuple[str, str], ModelSpec] = field(default_factory=dict)
    routes: tuple[RouteSpec, ...] = ()
    streams: tuple[StreamSpec, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


class Workspace(Protocol):
    """A folder of configuration: what it declares, and how a declared pipeline is built."""

    @property
    def root(self) -> Path:
        """The folder that paths in the configuration start at."""

    def read(self) -> Declared:
        """What the files say now. Raises InvalidConfig with every mistake, each with file and line."""

    def build(self, spec: PipelineSpec) -> Pipeline:
        """Load the model and bind the steps; blocks. Raises InvalidConfig, NotFound or ModelFailure."""

    def examples(self, spec: PipelineSpec) -> Sequence[Mapping[str, Any]]:
        """The example inputs of a pipeline as rows, with ``{file: ..}`` read."""

    def fingerprint(self) -> Hashable:
        """A value that changes when one of the files does."""


class Cache(Protocol):
    """Values by key, each for a while. A cache that fails answers as an empty one: slower, never wrong."""

    async def get(self, key: bytes) -> bytes | None:
        """The value of *key*, or None."""

    async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep *value* for *ttl_s* seconds."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a topic carries: bytes, and headers that nobody but the sender and the receiver reads."""

    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A message as it was read: *position* orders it within its topic."""

    message: Message
    position: int


class Broker(Protocol):
    """Topics that are written, read in groups, and committed: what was not committed is read again.

    Delivery is at least once. A group that reads a topic for the first time starts at its oldest message.
    """

    async def write(self, topic: str, messages: Sequence[Message]) -> None:
        """Append *messages*, all or none. Raises Overloaded when the topic is full of what nobody has read."""

    async def read(self, topic: str, group: str, max_events: int, max_wait_s: float) -> Sequence[Event]:
        """The next events for *group*: waits for the first, then for more until *max_events* or *max_wait_s*."""

    async def commit(self, topic: str, group: str, position: int) -> None:
        """Everything up to *position* is done with."""

    def lag(self, topic: str, group: str) -> int:
        """How many messages *group* has not committed, as far as is known here."""
        ...

    def rewind(self, topic: str, group: str) -> None:
        """Let the next read of *group* begin with what it has not committed, as after a restart."""

    def follow(self, topic: str) -> AsyncGenerator[Event]:
        """Events from this call on, for somebody who looks on; a reader that is too slow misses some."""
        ...

    async def close(self) -> None:
        """Let go; readers that wait get nothing."""


Values = Column | Sequence[Any]
"""The values of a column that is passed on: anything that has a length and can be sliced."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A column to read: *name* is what the pipeline calls it, *column* what the table does.

    *spec* says what it should hold: formats without types of their own (CSV) are read by it, and a missing value of
    an optional column becomes its default.
    """

    name: str
    column: str
    spec: TensorSpec


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row of a table that could not be read: why, and what stands there (text, or named values)."""

    error: EngineError
    original: Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a table, in columns of the rows that could be read.

    *numbers* are those rows' numbers in the table, the first row being 1. *columns* hold what was wanted, *kept*
    the columns to be passed on, each as its format holds it. *original* gives the row at a position as plain data.
    *unreadable* rows are by number; *read* is the part of the table (0 to 1) that has been read so far.
    """

    numbers: Sequence[int]
    columns: Mapping[str, Column]
    kept: Mapping[str, Values]
    original: Callable[[int], Any]
    unreadable: Mapping[int, Unreadable] = field(default_factory=dict)
    read: float = 0.0

    def take(self, start: int, stop: int) -> Chunk:
        """The rows at positions *start* to *stop*; those that could not be read go with the first ones."""
        if start == 0 and stop == len(self.numbers):
            return self
        return Chunk(
            self.numbers[start:stop],
            {name: column[start:stop] for name, column in self.columns.items()},
            {name: values[start:stop] for name, values in self.kept.items()},
            lambda position: self.original(start + position),
            self.unreadable if start == 0 else {},
            self.read,
        )


class Table(Protocol):
    """Rows in a file or a database, read once, from the first to the last. Its methods block."""

    @property
    def columns(self) -> Sequence[str] | None:
        """The names of its columns; None where each row brings its own."""

    @property
    def rows(self) -> int | None:
        """How many rows there are, if that is known before they are read."""

    def chunks(self, wanted: Sequence[Wanted], keep: Sequence[str], rows: int) -> Iterator[Chunk]:
        """Read *wanted* and the columns to *keep*, at most *rows* rows at a time, fewer where rows are large.

        There is at least one chunk, which may be empty. Raises InvalidInput when the table as a whole cannot be
        read any further; a row that cannot be read is in its chunk's *unreadable*.
        """

    def close(self) -> None:
        """Let go of the file."""


class TableSink(Protocol):
    """A table being written, which is seen by others only once it is complete. Its methods block.

    Raises DependencyFailure when it cannot be written (disk full), InvalidInput for a value that its format does
    not take.
    """

    def write(
        self, columns: Mapping[str, Column], kept: Mapping[str, Values], picks: Sequence[int] | None = None
    ) -> None:
        """Append rows: *kept* columns as a Chunk has them (only the rows *picks* of them, if given), and *columns*."""

    def finish(self) -> None:
        """Everything is written: bring it to the disk."""

    def publish(self) -> None:
        """Show the finished table under its name, in the place of what was there."""

    def abandon(self) -> None:
        """Leave no trace, unless it has been published."""


class Tables(Protocol):
    """Where tables are. Raises InvalidRequest for a name that is no table's, NotFound for a missing one."""

    def open(self, place: str) -> Table:
        """The table at *place*, to be read."""

    def create(self, place: str, kept: Sequence[str], columns: Mapping[str, TensorSpec]) -> TableSink:
        """A new table at *place*: columns *kept*, then *columns*. Raises Conflict while somebody else writes it."""

    def remove(self, place: str) -> None:
        """Remove the table at *place*, if there is one."""

    def same(self, one: str, other: str) -> bool:
        """Whether two places are one and the same."""
