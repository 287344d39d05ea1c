"""V2 calls about what is loaded: the repository's index, load, unload, and statistics; and those that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

import msgspec

from headrace.adapters.http.body import decode, read_body
from headrace.adapters.http.call import Call
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference_bodies import require_readable
from headrace.adapters.http.open_inference_requests import Parameters
from headrace.adapters.open_inference import models
from headrace.domain.errors import InvalidRequest
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked
from headrace.services.statistics import Statistics, statistics_of

T = TypeVar("T", bound=msgspec.Struct)


class IndexRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``repository/index``."""

    ready: bool = False


class ChangeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``load`` and ``unload``."""

    parameters: Parameters | None = None


REFUSED: Final[Mapping[str, str]] = {
    "systemsharedmemory": "system_shared_memory",
    "cudasharedmemory": "cuda_shared_memory",
    "trace": "trace",
    "logging": "logging",
    "config": "model_configuration",
}
"""Extensions that are not served, by what stands for them in a path."""


class RepositoryCalls:
    """Answers calls about the models as such."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def index(self, call: Call) -> None:
        """``POST /v2/repository/index``: every declared version and its state."""
        asked = await self._read(call, IndexRequest)
        await call.answer_json([asdict(one) for one in models.index(self._native.deployments, ready_only=asked.ready)])

    async def load(self, call: Call, name: str) -> None:
        """``POST /v2/repository/models/{name}/load``: what is declared, never what is sent."""
        asked = await self._read(call, ChangeRequest)
        await models.load(self._native.deployments, name, asked.parameters or {})
        await call.answer_json({})

    async def unload(self, call: Call, name: str) -> None:
        """``POST /v2/repository/models/{name}/unload``."""
        asked = await self._read(call, ChangeRequest)
        await models.unload(self._native.deployments, name, asked.parameters)
        await call.answer_json({})

    async def statistics(self, call: Call, name: str | None, version: str | None) -> None:
        """``GET /v2/models[/{name}[/versions/{version}]]/stats``: of one version, of all of a name, or of all."""
        if name is None:
            refs = list(self._native.inference.engine.registry)
        elif version is not None:
            refs = [self._native.choose(call, Asked(name, version)).pipeline.ref]
        else:
            refs = self._of(call, name)
        found = await statistics_of(self._native.inference.measures, refs)
        await call.answer_json({"model_stats": [told(one) for one in found]})

    def _of(self, call: Call, name: str) -> list[PipelineRef]:
        inference = self._native.inference
        name = inference.router.canonical(name)
        versions = inference.engine.registry.versions(name)
        if not versions:
            self._native.choose(call, Asked(name))  # says why there is none
        return [PipelineRef(name, version) for version in versions]

    async def refuse(self, call: Call, extension: str) -> None:
        """Any call of an extension that is not served. Raises InvalidRequest."""
        raise InvalidRequest(f"the {extension} extension is not served here; GET /v2 lists those that are")

    async def _read(self, call: Call, kind: type[T]) -> T:
        require_readable(call)
        body = await read_body(call, self._native.max_body)
        return decode(body, msgspec.json.Decoder(kind), kind.__struct_fields__) if body.strip() else kind()


def told(found: Statistics) -> dict[str, Any]:
    """The statistics of one version as the protocol writes them."""
    return {
        "name": found.pipeline,
        "version": found.version,
        "last_inference": found.last_inference_ms,
        "inference_count": found.inference_count,
        "execution_count": found.execution_count,
        "inference_stats": {
            "success": asdict(found.success),
            "fail": asdict(found.fail),
            "queue": asdict(found.queue),
            "compute_input": asdict(found.compute_input),
            "compute_infer": asdict(found.compute_infer),
            "compute_output": asdict(found.compute_output),
            "cache_hit": asdict(found.cache_hit),
            "cache_miss": asdict(found.cache_miss),
        },
        "batch_stats": [asdict(one) for one in found.batches],
    }
