"""The ports: what Headrace asks of the outside world, as protocols that infra implements."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.domain.errors import EngineError
from headrace.domain.jobs import Job, Status
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


@dataclass(frozen=True, slots=True)
class CacheLevel:
    """How one place where answers are kept is doing, for whoever scrapes.

    *used_bytes* is what it holds, where that is known here; *failures* counts calls that it did not answer.
    """

    name: str
    up: bool = True
    used_bytes: int | None = None
    failures: int = 0


class Cache(Protocol):
    """Answers by key, each for a while: named columns of one row, which nobody changes any more.

    A cache that fails answers as an empty one: slower, never wrong, and never with an error.
    """

    @property
    def waits(self) -> bool:
        """Whether `get` may find what `at_hand` does not, in a place that takes a while to ask."""

    def at_hand(self, key: bytes) -> Mapping[str, Column] | None:
        """The answer of *key* if it is kept in this process; takes no time worth speaking of."""

    async def get(self, keys: Sequence[bytes]) -> Sequence[Mapping[str, Column] | None]:
        """The answer of each of *keys*, or None."""

    async def set(self, answers: Mapping[bytes, Mapping[str, Column]], ttl_s: float) -> None:
        """Keep *answers* for *ttl_s* seconds; one that cannot be kept is left out. Returns when that is done."""

    def levels(self) -> Sequence[CacheLevel]:
        """The places where answers are kept, the nearest first."""

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

    def absolute(self, place: str) -> str:
        """The name of *place* that holds wherever somebody asks from."""


@dataclass(frozen=True, slots=True)
class SetRoute:
    """A route that was set at run time: when, in seconds since the epoch, and by whom."""

    spec: RouteSpec
    changed_at: float
    changed_by: str


class RouteStore(Protocol):
    """Routes that were set at run time. Raises DependencyFailure when they cannot be read or written."""

    async def all(self) -> Mapping[str, SetRoute]:
        """Every one, by the name of its pipeline."""

    async def set(self, spec: RouteSpec, by: str) -> SetRoute:
        """Keep *spec* in the place of what was set before."""

    async def reset(self, name: str, by: str) -> bool:
        """Forget the route of *name*; returns whether there was one."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered: without a *body*, it was answered and could not be kept."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """Nobody has answered under this key: whoever claimed it should."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Somebody else is answering a request whose content has this *fingerprint*."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request whose content has this *fingerprint* was answered."""

    fingerprint: str
    answer: KeptAnswer


class AnswerStore(Protocol):
    """Answers by idempotency key, and claims of those who are about to answer.

    Raises DependencyFailure when it cannot be read or written. An *owner* is a text that nobody else uses.
    """

    async def claim(self, key: str, fingerprint: str, owner: str, lease_s: float) -> Claimed | UnderWay | Answered:
        """Claim *key* for *lease_s* seconds, unless somebody else has."""

    async def renew(self, key: str, owner: str, lease_s: float) -> bool:
        """Hold the claim for *lease_s* seconds from now; False if somebody else has it by now."""

    async def keep(self, key: str, owner: str, answer: KeptAnswer, ttl_s: float) -> bool:
        """Put *answer* in the place of the claim; False if somebody else has it by now."""

    async def release(self, key: str, owner: str) -> None:
        """Give the claim up, if it is still held."""


class JobStore(Protocol):
    """What is remembered of jobs. Raises DependencyFailure when it cannot be read or written."""

    async def write(self, job: Job) -> bool:
        """Remember *job* as it is now; False if another run of it has taken over, whose words count."""

    async def take_over(self, job: Job, before: Job) -> bool:
        """Begin the next run of *before*; False if somebody else has begun it, or it has gone on meanwhile."""

    async def get(self, id: str) -> Job | None:
        """The job of that *id*."""

    async def newest(self, limit: int, status: Status | None = None) -> Sequence[Job]:
        """The jobs of a *status*, or all, the newest first."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that a caller may show: the *digest* is all that is kept of its secret, the *id* is no secret.

    Times are in seconds since the epoch; without *expires_at* it holds until it is revoked.
    """

    name: str
    id: str
    digest: str
    roles: tuple[str, ...]
    created_at: float
    created_by: str
    expires_at: float | None = None
    revoked_at: float | None = None


class KeyStore(Protocol):
    """The keys that callers may show. Raises DependencyFailure when they cannot be read or written."""

    async def all(self) -> Sequence[StoredKey]:
        """Every one by name, those that are over included."""

    async def add(self, key: StoredKey) -> bool:
        """Keep *key*, in the place of one that is over; False while another holds under its name."""

    async def revoke(self, name: str, by: str) -> StoredKey | None:
        """Let the key of *name* hold no more; returns it as it is then, None if there is none."""
