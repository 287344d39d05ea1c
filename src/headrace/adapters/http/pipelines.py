"""``/api/v1/pipelines``: the pipelines with their steps, and the schema of what they take and give."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from headrace.adapters.http.models import columns, summary
from headrace.adapters.http.replies import FAILURES, reply
from headrace.adapters.http.schemas import input_schema, output_schema, shown_examples
from headrace.core.masking import masked
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Workspace
from headrace.domain.spec import Batching, PipelineSpec, StepSpec
from headrace.services.deployments import Deployment, Deployments
from headrace.services.inference import Inference


def pipelines_router(inference: Inference, deployments: Deployments) -> APIRouter:
    """The routes of this resource."""
    router = APIRouter(prefix="/api/v1/pipelines", tags=["pipelines"], responses=FAILURES)

    @router.get("", summary="All pipelines")
    async def list_pipelines(request: Request) -> Response:
        return reply(
            request,
            {
                "default": inference.default,
                "pipelines": [{**summary(one), "description": one.spec.description} for one in deployments.status()],
            },
        )

    @router.get("/{name}", summary="One pipeline: steps, input and output schema, examples")
    async def show_pipeline(request: Request, name: str) -> Response:
        found = deployments.find(name)
        versions = [await _described(inference, deployments.workspace, one) for one in found]
        return reply(request, {"name": found[0].ref.name, "versions": versions})

    return router


async def _described(inference: Inference, workspace: Workspace, one: Deployment) -> dict[str, Any]:
    spec = one.spec
    told = {
        **summary(one),
        "description": spec.description,
        "preprocessing": [_step(step) for step in spec.preprocessing],
        "postprocessing": [_step(step) for step in spec.postprocessing],
        "batching": _batching(spec),
        "cache": None if spec.cache is None else {"ttl_s": spec.cache.ttl_s},
        "timeout_s": spec.timeout_s,
    }
    registry = inference.engine.registry
    if one.ref not in registry:
        return told
    pipeline: Pipeline = registry.get(one.ref).pipeline
    return {
        **told,
        "digest": pipeline.digest,
        "inputs": columns(pipeline.inputs.items()),
        "outputs": columns(pipeline.outputs.items()),
        "input_schema": input_schema(pipeline),
        "output_schema": output_schema(pipeline),
        "examples": shown_examples(await asyncio.to_thread(examples_of, workspace, spec)),
    }


def examples_of(workspace: Workspace, spec: PipelineSpec) -> Sequence[Mapping[str, Any]]:
    """The example rows of a pipeline; none where their files cannot be read. Blocks."""
    try:
        return workspace.examples(spec)
    except EngineError:
        return ()


def _step(step: StepSpec) -> dict[str, Any]:
    return {"name": step.name, "params": masked(dict(step.params))}


def _batching(spec: PipelineSpec) -> Any:
    if not isinstance(spec.batching, Batching):
        return False
    return asdict(spec.batching)
