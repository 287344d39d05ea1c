"""``/api/v1/models``: what is loaded, and loading, unloading and reloading it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.framework import call_of
from headrace.adapters.http.replies import FAILURES, reply
from headrace.adapters.open_inference.datatypes import datatype_of
from headrace.core.masking import masked
from headrace.domain.errors import NotFound
from headrace.domain.registry import PipelineRef
from headrace.domain.tensors import TensorSpec
from headrace.services.deployments import Deployment, Deployments
from headrace.services.engine import Served
from headrace.services.inference import Inference


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of load, unload and reload, which may be empty: all versions, then."""

    version: str | int | None = None


_CHOSEN: Final = msgspec.json.Decoder(Chosen)
Change = Callable[[str, str | None], Awaitable[list[PipelineRef]]]


def models_router(inference: Inference, deployments: Deployments, max_body: int) -> APIRouter:
    """The routes of this resource."""
    router = APIRouter(prefix="/api/v1/models", tags=["models"], responses=FAILURES)

    @router.get("", summary="All models and their states")
    async def list_models(request: Request) -> Response:
        return reply(request, {"models": [summary(one) for one in deployments.status()]})

    @router.get("/{name}", summary="Every version of one model")
    async def show_model(request: Request, name: str) -> Response:
        found = deployments.find(name)
        return reply(request, {"name": found[0].ref.name, "versions": [detail(inference, one) for one in found]})

    @router.get("/{name}/versions/{version}", summary="One version, which may be an alias")
    async def show_version(request: Request, name: str, version: str) -> Response:
        return reply(request, detail(inference, chosen(inference, deployments, name, version)))

    def change(verb: str, act: Change, doc: str) -> None:
        @router.post(f"/{{name}}/{verb}", summary=doc, name=f"{verb}_model", openapi_extra=_BODY)
        async def act_on_model(request: Request, name: str) -> Response:
            version = await _version(request, max_body)
            if version is not None:
                version = chosen(inference, deployments, name, version).ref.version
            refs = await act(name, version)
            return reply(request, {verb + "ed": [{"name": ref.name, "version": ref.version} for ref in refs]})

    change("reload", deployments.reload, "Read the same versions' files again, warm up, and swap")
    change("load", deployments.load, "Load what is declared and not loaded")
    change("unload", deployments.unload, "Take out of service once requests under way are answered")
    return router


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"type": "object", "properties": {"version": {"type": "string"}}}}},
    }
}


async def _version(request: Request, max_body: int) -> str | None:
    call = call_of(request.scope)
    require_json(call)
    body = await read_body(call, max_body)
    if not body.strip():
        return None
    version = decode(body, _CHOSEN, Chosen.__struct_fields__).version
    return None if version is None else str(version)


def chosen(inference: Inference, deployments: Deployments, name: str, version: str) -> Deployment:
    """The deployment that *version*, or the alias of that name, means. Raises NotFound."""
    found = deployments.find(name)
    known = {one.ref.version: one for one in found}
    if version in known:
        return known[version]
    route = inference.router.route(name)
    if route is not None and route.aliases.get(version) in known:
        return known[route.aliases[version]]
    raise NotFound(f"{name!r} has no version or alias {version!r}; there are: {', '.join(known)}")


def summary(one: Deployment) -> dict[str, Any]:
    """One line of the list."""
    model = one.model
    return {
        "name": one.ref.name,
        "version": one.ref.version,
        "state": one.state,
        "reason": one.reason or None,
        "type": model.type if model else None,
        "device": model.device if model else None,
        "model": f"{model.name}@{model.version}" if model else None,
        "required": one.spec.required,
        "loaded_at": None if one.loaded_at is None else datetime.fromtimestamp(one.loaded_at, UTC),
    }


def detail(inference: Inference, one: Deployment) -> dict[str, Any]:
    """Everything about one version: of a loaded one also its columns, its artefact and what its runtime tells."""
    told = summary(one)
    registry = inference.engine.registry
    if one.ref not in registry:
        return told
    served = registry.get(one.ref)
    pipeline = served.pipeline
    return {
        **told,
        "digest": pipeline.digest,
        "batched": pipeline.batched,
        "instances": pipeline.instances,
        "placement": placed(served),
        "inputs": columns(pipeline.inputs.items()),
        "outputs": columns(pipeline.outputs.items()),
        "runtime": masked(dict(pipeline.model.describe())),
    }


def placed(served: Served) -> dict[str, Any]:
    """Where batches of a pipeline run, as it was measured or *pinned* by its configuration.

    A batch of n rows takes about ``call_ms + n * row_ms``; both are None before the first one.
    """
    pipeline = served.pipeline
    told = served.batcher.placement.describe()
    if not pipeline.synchronous:
        told["runs"] = "awaited" if pipeline.remote else "thread"
    pins = {
        "runs": pipeline.spec.placement != "auto",
        "instances": pipeline.instances != "auto",
        "largest_batch": pipeline.spec.batching_or_default.max_size != "auto",
    }
    told |= {"instances": served.instances, "together": served.batcher.together}
    return {**told, "pinned": [name for name, pinned in pins.items() if pinned]}


def columns(specs: Any) -> list[dict[str, Any]]:
    """Columns as plain data; axis 0 of a shape is the row."""
    return [_column(name, spec) for name, spec in specs]


def _column(name: str, spec: TensorSpec) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "dtype": spec.dtype,
        "datatype": datatype_of(spec),
        "shape": None if spec.shape is None else list(spec.shape),
    }
    if spec.optional:
        told["default"] = spec.default
    return told
