"""What is loaded and what should be: load, warm up, swap, unload, and follow the configuration folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from headrace.core.logging import logger
from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidConfig, InvalidInput, NotFound
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared, Workspace
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, ModelUse, PipelineSpec, StreamSpec
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs

log = logger(__name__)

State = Literal["loading", "ready", "unloaded", "failed"]

WARM_UP_SIZES = (1, 1, 4, 16, 32)
"""Batch sizes of the warm-up: enough to fit the cost of a call and of a row."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One declared pipeline and how it stands. *loaded_at* is in seconds since the epoch."""

    ref: PipelineRef
    spec: PipelineSpec
    model: ModelSpec | None
    state: State
    reason: str = ""
    loaded_at: float | None = None


class Deployments:
    """Keeps the engine in step with a workspace. Changes happen one at a time; requests go on meanwhile."""

    def __init__(self, inference: Inference, workspace: Workspace) -> None:
        self.inference = inference
        self.workspace = workspace
        self.mistakes: Sequence[Mapping[str, Any]] = ()
        """What is wrong with the configuration as it stands now, if the one being served is an older one."""
        self.announce: Callable[[Literal["load", "unload", "reload"], str, str | None], Awaitable[None]] | None = None
        """Told of each change by hand once it is made here; returns when other workers have made it too."""
        self.held_back = False
        """Whether to be ready has to wait for other workers."""
        self._engine = inference.engine
        self._declared = Declared()
        self._states: dict[PipelineRef, Deployment] = {}
        self._fingerprint: Hashable = None
        self._change = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every pipeline that is required answers."""
        return (
            not self.held_back
            and bool(self._states)
            and all(one.state in ("ready", "unloaded") or not one.spec.required for one in self._states.values())
        )

    @property
    def streams(self) -> Sequence[StreamSpec]:
        """The streams that are declared."""
        return self._declared.streams

    def status(self) -> list[Deployment]:
        """Every declared pipeline, sorted by reference."""
        return [self._states[ref] for ref in sorted(self._states)]

    def find(self, name: str) -> list[Deployment]:
        """The deployments of a pipeline. Raises NotFound."""
        name = self.inference.router.canonical(name)
        found = [one for one in self.status() if one.ref.name == name]
        if not found:
            names = sorted({ref.name for ref in self._states})
            there = ", ".join(names) or "none"
            raise NotFound(f"no pipeline {name!r:.200} is declared{nearest(name, names)}; declared: {there}")
        return found

    async def start(self) -> None:
        """Read the workspace and load everything it declares.

        Raises InvalidConfig for mistakes, or the error of a required pipeline that cannot be loaded.
        """
        async with self._change:
            self._fingerprint = self.workspace.fingerprint()
            self._adopt(await self._read())
            self.inference.default = self._declared.default
            for ref, spec in sorted(self._declared.pipelines.items(), key=lambda item: item[0]):
                await self._load(ref, strict=spec.required)

    async def load(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Load what is declared and not loaded. Raises NotFound, or what the build raises."""
        async with self._change:
            chosen = [one.ref for one in self._chosen(name, version)]
            refs = [ref for ref in chosen if ref in self._declared.pipelines and ref not in self._engine.registry]
            for ref in refs:
                await self._load(ref, strict=True)
        if self.announce is not None:
            await self.announce("load", name, version)
        return refs

    async def unload(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Take versions out of service; requests under way are still answered."""
        async with self._change:
            refs = [one.ref for one in self._chosen(name, version) if one.ref in self._engine.registry]
            for ref in refs:
                await self._engine.remove(ref)
                self._states[ref] = replace(self._states[ref], state="unloaded", reason="", loaded_at=None)
            self.inference.forget_choices()
        if self.announce is not None:
            await self.announce("unload", name, version)
        return refs

    async def reload(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Read the files and the bytes of the same versions again, warm up, and swap.

        Whatever else runs the same model is reloaded with it, so that all answer from the same bytes. A
        configuration or an artefact that does not hold raises, and the old one goes on serving. Nothing else in the
        folder is followed. Raises NotFound for what is not declared any more.
        """
        async with self._change:
            declared = await self._read()
            chosen = [one.ref for one in self._with_users(self._chosen(name, version))]
            refs = [ref for ref in chosen if ref in declared.pipelines]
            if not refs:
                raise NotFound(f"no longer declared: {', '.join(map(str, chosen))}")
            self._declared = _with(self._declared, declared, refs)
            for ref in refs:
                await self._load(ref, strict=True)
            log.info("reloaded", pipelines=list(map(str, refs)))
        if self.announce is not None:
            await self.announce("reload", name, version)
        return refs

    async def refresh(self) -> bool:
        """Follow the folder: if a file changed, load what is new, swap what changed, drop what is gone.

        Returns whether anything was done. A folder with mistakes changes nothing; they are kept in *mistakes*.
        """
        fingerprint = await self._off_loop(self.workspace.fingerprint)
        if fingerprint == self._fingerprint:
            return False
        async with self._change:
            self._fingerprint = fingerprint
            try:
                declared = await self._read()
            except InvalidConfig as error:
                self.mistakes = (error.details or {}).get("mistakes", ({"message": error.message},))
                return False
            await self._follow(declared)
            self.mistakes = ()
            return True

    async def _follow(self, declared: Declared) -> None:
        # Equal files that still count as changed: the steps or the environment did.
        everything = declared == self._declared
        changed = [ref for ref, spec in declared.pipelines.items() if everything or self._differs(ref, spec, declared)]
        gone = set(self._states) - set(declared.pipelines)
        held = {ref.name for ref in (*changed, *gone)}
        self._adopt(declared, held)
        for name in sorted(held):
            for ref in changed:
                if ref.name == name and self._states[ref].state != "unloaded":
                    await self._load(ref)
            if any(one.ref.name == name and one.state == "failed" for one in self._states.values()):
                continue  # the old versions and their route stay
            # Old leaves for new in one turn of the loop: the bare name is never without an answer, nor ambiguous.
            held.discard(name)
            self._route(held)
            for ref in sorted(gone):
                if ref.name == name:
                    await self._drop(ref)
        self.inference.default = declared.default

    def _differs(self, ref: PipelineRef, spec: PipelineSpec, declared: Declared) -> bool:
        """Whether *spec* is something else than what was loaded, or could not be."""
        known = self._states.get(ref)
        return known is None or known.state == "failed" or (known.spec, known.model) != (spec, _model(declared, spec))

    async def _drop(self, ref: PipelineRef) -> None:
        if ref in self._engine.registry:
            await self._engine.remove(ref)
        del self._states[ref]
        self.inference.forget_choices()

    def _with_users(self, chosen: list[Deployment]) -> list[Deployment]:
        """*chosen*, and everything else loaded that runs one of their models: two must not answer from other bytes."""
        models = [one.spec.model for one in chosen]
        users = [one for one in self.status() if one.spec.model in models and one.ref in self._engine.registry]
        return [*chosen, *(one for one in users if one not in chosen)]

    def _chosen(self, name: str, version: str | None) -> list[Deployment]:
        found = self.find(name)
        if version is None:
            return found
        chosen = [one for one in found if one.ref.version == version]
        if not chosen:
            versions = ", ".join(one.ref.version for one in found)
            raise NotFound(f"pipeline {name!r} has no version {version!r}; declared: {versions}")
        return chosen

    def _adopt(self, declared: Declared, held: Collection[str] = ()) -> None:
        self._declared = declared
        self._route(held)
        for ref, spec in declared.pipelines.items():
            self._states.setdefault(ref, Deployment(ref, spec, _model(declared, spec), "loading"))

    def _route(self, held: Collection[str]) -> None:
        """Follow the declared routes, but for the names *held*, whose versions are not loaded yet, the old ones."""
        router = self.inference.router
        kept = [route for route in router.declared() if route.name in held]
        router.replace(
            [*(route for route in self._declared.routes if route.name not in held), *kept], self._declared.aliases
        )
        self.inference.forget_choices()

    async def _load(self, ref: PipelineRef, *, strict: bool = False) -> None:
        """Build, warm up, and serve *ref*, in the place of the one that serves it now if there is one.

        If that fails, the old one goes on, the reason is in the status, and a *strict* caller gets the error too.
        """
        spec = self._declared.pipelines[ref]
        loaded = Deployment(ref, spec, _model(self._declared, spec), "ready")
        pipeline: Pipeline | None = None
        try:
            pipeline = await self._off_loop(self.workspace.build, spec)
            await self._engine.swap(pipeline, await self._warm_up(pipeline))
        except EngineError as error:
            if pipeline is not None:
                await self._off_loop(pipeline.close)
            old = self._states[ref] if ref in self._engine.registry else replace(loaded, state="failed")
            self._states[ref] = replace(old, reason=error.message)
            if strict:
                raise
            return
        self._states[ref] = replace(loaded, loaded_at=time.time())
        self.inference.forget_choices()

    async def _warm_up(self, pipeline: Pipeline) -> list[Batch]:
        rows = await self._off_loop(self.workspace.examples, pipeline.spec)
        try:
            inputs = rows_to_inputs(pipeline, rows[:1]).columns if rows else _zeros(pipeline)
        except InvalidInput as error:
            raise InvalidConfig(f"{pipeline.ref}: example 1: {error.message}") from error
        if inputs is None:
            return []
        sizes = WARM_UP_SIZES if pipeline.batched else (1, 1, 1)
        return [Batch({name: list(column) * size for name, column in inputs.items()}, size) for size in sizes]

    async def _read(self) -> Declared:
        declared: Declared = await self._off_loop(self.workspace.read)
        return declared

    def _off_loop(self, function: Any, *args: Any) -> Any:
        return self._engine.executor.call(function, *args)


def _model(declared: Declared, spec: PipelineSpec) -> ModelSpec | None:
    """The declared model that a pipeline runs."""
    if isinstance(spec.model, ModelSpec):
        return spec.model
    use = spec.model if isinstance(spec.model, ModelUse) else ModelUse(spec.model)
    for (name, version), model in declared.models.items():
        if name == use.name and use.version in (None, version):
            return model
    return None


def _with(before: Declared, after: Declared, refs: Sequence[PipelineRef]) -> Declared:
    """*before*, with *refs* and their models as they are in *after*."""
    pipelines = {ref: after.pipelines[ref] for ref in refs}
    models = [_model(after, spec) for spec in pipelines.values()]
    return replace(
        before,
        pipelines={**before.pipelines, **pipelines},
        models={**before.models, **{(model.name, model.version): model for model in models if model is not None}},
    )


def _zeros(pipeline: Pipeline) -> dict[str, list[Any]] | None:
    """A row of zeros for a pipeline that takes only numbers; None where zeros would say nothing."""
    row: dict[str, list[Any]] = {}
    for name, spec in pipeline.inputs.items():
        if not spec.numeric or spec.row_shape is None:
            return None
        row[name] = [np.zeros([max(1, size) for size in spec.row_shape], dtype=spec.dtype)]
    return row or None
