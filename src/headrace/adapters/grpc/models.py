"""Answers the calls that are about the server and its models: health, metadata, repository and statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import headrace
from headrace.adapters.choosing import chosen
from headrace.adapters.grpc.door import Call, Door
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.requests import parameters_of
from headrace.adapters.open_inference import models
from headrace.adapters.open_inference.datatypes import metadata_of, platform_of
from headrace.domain.errors import NotFound, NotReady
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference
from headrace.services.statistics import Statistics, statistics_of


class ModelCalls:
    """Answers calls about the server and its models. Each takes its message decoded and returns one to encode."""

    def __init__(self, inference: Inference, deployments: Deployments, door: Door) -> None:
        self._inference = inference
        self._deployments = deployments
        self._door = door

    async def server_live(self, asked: messages.ServerLiveRequest, call: Call) -> messages.ServerLiveResponse:
        """``ServerLive``: the process answers."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, asked: messages.ServerReadyRequest, call: Call) -> messages.ServerReadyResponse:
        """``ServerReady``: every required pipeline answers, and the server is not stopping."""
        return messages.ServerReadyResponse(ready=self._door.ready)

    async def model_ready(self, asked: messages.ModelReadyRequest, call: Call) -> messages.ModelReadyResponse:
        """``ModelReady``: false for a model that is not loaded, or not known. Raises AmbiguousVersion."""
        try:
            self._inference.choose(_named(asked.name, asked.version, call))
        except (NotFound, NotReady):
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=True)

    async def server_metadata(
        self, asked: messages.ServerMetadataRequest, call: Call
    ) -> messages.ServerMetadataResponse:
        """``ServerMetadata``."""
        return messages.ServerMetadataResponse(
            name="headrace", version=headrace.__version__, extensions=models.EXTENSIONS
        )

    async def model_metadata(self, asked: messages.ModelMetadataRequest, call: Call) -> messages.ModelMetadataResponse:
        """``ModelMetadata``."""
        pipeline = chosen(self._inference, self._deployments, _named(asked.name, asked.version, call)).pipeline
        loaded = self._inference.engine.registry.versions(pipeline.ref.name)
        return messages.ModelMetadataResponse(
            name=pipeline.ref.name,
            versions=[pipeline.ref.version] if asked.version else loaded,
            platform=platform_of(pipeline),
            inputs=[_column(metadata_of(*one, batched=pipeline.batched)) for one in pipeline.inputs.items()],
            outputs=[_column(metadata_of(*one, batched=pipeline.batched)) for one in pipeline.outputs.items()],
        )

    async def model_statistics(
        self, asked: messages.ModelStatisticsRequest, call: Call
    ) -> messages.ModelStatisticsResponse:
        """``ModelStatistics``: of one model or version, or of all that are loaded."""
        registry = self._inference.engine.registry
        if not asked.name:
            refs = list(registry)
        elif asked.version:
            choice = chosen(self._inference, self._deployments, _named(asked.name, asked.version, call))
            refs = [choice.pipeline.ref]
        else:
            name = self._inference.router.canonical(asked.name)
            refs = [PipelineRef(name, version) for version in registry.versions(name)]
            if not refs:
                chosen(self._inference, self._deployments, _named(asked.name, "", call))
        found = await statistics_of(self._inference.measures, refs)
        return messages.ModelStatisticsResponse(model_stats=[_statistics(one) for one in found])

    async def repository_index(
        self, asked: messages.RepositoryIndexRequest, call: Call
    ) -> messages.RepositoryIndexResponse:
        """``RepositoryIndex``: what the workspace declares."""
        found = models.index(self._deployments, ready_only=asked.ready)
        line = messages.RepositoryIndexResponse.ModelIndex
        return messages.RepositoryIndexResponse(
            models=[line(name=one.name, version=one.version, state=one.state, reason=one.reason) for one in found]
        )

    async def load(
        self, asked: messages.RepositoryModelLoadRequest, call: Call
    ) -> messages.RepositoryModelLoadResponse:
        """``RepositoryModelLoad``: what is declared, never what is sent."""
        await models.load(self._deployments, asked.model_name, parameters_of(asked.parameters))
        return messages.RepositoryModelLoadResponse()

    async def unload(
        self, asked: messages.RepositoryModelUnloadRequest, call: Call
    ) -> messages.RepositoryModelUnloadResponse:
        """``RepositoryModelUnload``."""
        await models.unload(self._deployments, asked.model_name, parameters_of(asked.parameters))
        return messages.RepositoryModelUnloadResponse()


def _named(name: str, version: str, call: Call) -> Asked:
    return Asked(name, version or None, call.metadata)


def _column(told: Mapping[str, Any]) -> messages.ModelMetadataResponse.TensorMetadata:
    return messages.ModelMetadataResponse.TensorMetadata(**told)


_TOTALS: Final = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
)  # fmt: skip
_PHASES: Final = ("compute_input", "compute_infer", "compute_output")


def _statistics(found: Statistics) -> messages.ModelStatistics:
    sized = [
        messages.InferBatchStatistics(batch_size=one.batch_size, **_durations(one, _PHASES)) for one in found.batches
    ]
    return messages.ModelStatistics(
        name=found.pipeline,
        version=found.version,
        last_inference=found.last_inference_ms,
        inference_count=found.inference_count,
        execution_count=found.execution_count,
        inference_stats=messages.InferStatistics(**_durations(found, _TOTALS)),
        batch_stats=sized,
    )


def _durations(found: object, names: Sequence[str]) -> dict[str, Any]:
    durations = {name: getattr(found, name) for name in names}
    return {name: messages.StatisticDuration(count=one.count, ns=one.ns) for name, one in durations.items()}
