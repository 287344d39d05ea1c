"""The ports: what Headrace asks of the outside world, as protocols that infra implements."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec, StreamSpec

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

    def follow(self, topic: str) -> AsyncGenerator[Event]:
        """Events from this call on, for somebody who looks on; a reader that is too slow misses some."""
        ...

    async def close(self) -> None:
        """Let go; readers that wait get nothing."""
