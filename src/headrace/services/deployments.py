"""What is loaded and what should be: load, warm up, swap, unload, and follow the configuration folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidConfig, NotFound
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared, Workspace
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, ModelUse, PipelineSpec
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs

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
        self._engine = inference.engine
        self._declared = Declared()
        self._states: dict[PipelineRef, Deployment] = {}
        self._fingerprint: Hashable = None
        self._change = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether every pipeline that is required answers."""
        return bool(self._states) and all(
            one.state in ("ready", "unloaded") or not one.spec.required for one in self._states.values()
        )

    def status(self) -> list[Deployment]:
        """Every declared pipeline, sorted by reference."""
        return [self._states[ref] for ref in sorted(self._states)]

    def find(self, name: str) -> list[Deployment]:
        """The deployments of a pipeline. Raises NotFound."""
        name = self.inference.router.canonical(name)
        found = [one for one in self.status() if one.ref.name == name]
        if not found:
            names = ", ".join(sorted({ref.name for ref in self._states})) or "none"
            raise NotFound(f"no pipeline {name!r} is declared; declared: {names}")
        return found

    async def start(self) -> None:
        """Read the workspace and load everything it declares.

        Raises InvalidConfig for mistakes, or the error of a required pipeline that cannot be loaded.
        """
        async with self._change:
            self._fingerprint = self.workspace.fingerprint()
            self._adopt(await self._read())
            for ref in sorted(self._declared.pipelines):
                await self._load(ref)
            self.inference.forget_decisions()

    async def load(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Load what is declared and not loaded. Raises NotFound, or what the build raises."""
        async with self._change:
            refs = [one.ref for one in self._chosen(name, version) if one.ref not in self._engine.registry]
            for ref in refs:
                await self._load(ref, strict=True)
            self.inference.forget_decisions()
            return refs

    async def unload(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Take versions out of service; requests under way are still answered."""
        async with self._change:
            refs = [one.ref for one in self._chosen(name, version) if one.ref in self._engine.registry]
            for ref in refs:
                await self._engine.remove(ref)
                self._states[ref] = replace(self._states[ref], state="unloaded", reason="", loaded_at=None)
            self.inference.forget_decisions()
            return refs

    async def reload(self, name: str, version: str | None = None) -> list[PipelineRef]:
        """Read the files and the bytes of the same versions again, warm up, and swap.

        A configuration or an artefact that does not hold raises, and the old one goes on serving.
        """
        async with self._change:
            declared = await self._read()
            chosen = [one.ref for one in self._chosen(name, version)]
            self._adopt(declared)
            refs = [ref for ref in chosen if ref in declared.pipelines]
            for ref in refs:
                await self._load(ref, strict=True)
            self.inference.forget_decisions()
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
        before = self._declared
        changed = [
            ref
            for ref, spec in declared.pipelines.items()
            # Equal files that still count as changed: the steps or the environment did.
            if declared == before or spec != before.pipelines.get(ref) or _model(declared, spec) != _model(before, spec)
        ]
        for ref in set(self._states) - set(declared.pipelines):
            if ref in self._engine.registry:
                await self._engine.remove(ref)
            del self._states[ref]
        unloaded = {ref for ref, one in self._states.items() if one.state == "unloaded"}
        self._adopt(declared)
        for ref in changed:
            if ref not in unloaded:
                await self._load(ref)
        self.inference.forget_decisions()

    def _chosen(self, name: str, version: str | None) -> list[Deployment]:
        found = self.find(name)
        if version is None:
            return found
        chosen = [one for one in found if one.ref.version == version]
        if not chosen:
            versions = ", ".join(one.ref.version for one in found)
            raise NotFound(f"pipeline {name!r} has no version {version!r}; declared: {versions}")
        return chosen

    def _adopt(self, declared: Declared) -> None:
        self._declared = declared
        self.inference.default = declared.default
        self.inference.router.replace(declared.routes, declared.aliases)
        for ref, spec in declared.pipelines.items():
            known = self._states.get(ref)
            model = _model(declared, spec)
            self._states[ref] = (
                replace(known, spec=spec, model=model) if known else Deployment(ref, spec, model, "loading")
            )

    async def _load(self, ref: PipelineRef, *, strict: bool = False) -> None:
        """Build, warm up, and serve *ref*, in the place of the one that serves it now if there is one."""
        one = self._states[ref]
        serving = ref in self._engine.registry
        try:
            pipeline = await self._off_loop(self.workspace.build, one.spec)
            await self._engine.swap(pipeline, await self._warm_up(pipeline))
        except EngineError as error:
            if not serving:
                self._states[ref] = replace(one, state="failed", reason=error.message)
            if strict or (one.spec.required and not serving):
                raise
            return
        self._states[ref] = replace(one, state="ready", reason="", loaded_at=time.time())

    async def _warm_up(self, pipeline: Pipeline) -> list[Batch]:
        rows = await self._off_loop(self.workspace.examples, pipeline.spec)
        inputs = rows_to_inputs(pipeline, rows[:1]).columns if rows else _zeros(pipeline)
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


def _zeros(pipeline: Pipeline) -> dict[str, list[Any]] | None:
    """A row of zeros for a pipeline that takes only numbers; None where zeros would say nothing."""
    row: dict[str, list[Any]] = {}
    for name, spec in pipeline.inputs.items():
        if not spec.numeric or spec.row_shape is None:
            return None
        row[name] = [np.zeros([max(1, size) for size in spec.row_shape], dtype=spec.dtype)]
    return row or None
