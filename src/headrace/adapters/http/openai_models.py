"""``GET /v1/models``: which values of ``model`` are answered?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from headrace.adapters.http.call import Call
from headrace.adapters.http.native import NativeCalls
from headrace.domain.errors import EngineError
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked

OWNER = "headrace"


class ModelCalls:
    """Lists the loaded pipelines, each by its name, where that says enough, and by ``name@version``."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def list(self, call: Call) -> None:
        """``GET /v1/models``."""
        loaded = self._loaded()
        await call.answer_json({"object": "list", "data": [_model(*one, loaded) for one in self._ids()]})

    async def show(self, call: Call, name: str) -> None:
        """``GET /v1/models/{model}``, also for ``name@alias``."""
        bare, _, version = name.partition("@")
        pipeline = self._native.choose(call, Asked(bare, version or None)).pipeline
        await call.answer_json(_model(name, pipeline.ref, self._loaded()))

    def _ids(self) -> Iterator[tuple[str, PipelineRef]]:
        registry = self._native.inference.engine.registry
        for name in registry.names():
            with suppress(EngineError):  # several versions, and no route says which: only their full names answer
                yield name, self._native.inference.choose(Asked(name)).pipeline.ref
            for version in registry.versions(name):
                ref = PipelineRef(name, version)
                yield str(ref), ref

    def _loaded(self) -> dict[PipelineRef, int]:
        """When each pipeline was loaded, in seconds since 1970."""
        return {one.ref: int(one.loaded_at) for one in self._native.deployments.status() if one.loaded_at is not None}


def _model(name: str, ref: PipelineRef, loaded: dict[PipelineRef, int]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": loaded.get(ref, 0), "owned_by": OWNER}
