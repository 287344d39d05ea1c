"""The ports: what Headrace asks of the outside world, as protocols that infra implements."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec

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
