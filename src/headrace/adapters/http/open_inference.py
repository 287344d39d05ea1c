"""The Open Inference Protocol V2 over REST, in JSON: inference, metadata and health under ``/v2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

import headrace
from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference_tensors import RequestInput, to_inputs, to_output
from headrace.adapters.open_inference.datatypes import metadata_of, platform_of
from headrace.adapters.open_inference.outputs import chosen_outputs
from headrace.adapters.open_inference.parameters import take_parameters
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.context import Result

EXTENSIONS: Final[Sequence[str]] = ("schedule_policy",)


class RequestOutput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One entry of ``outputs``."""

    name: str
    parameters: dict[str, Any] | None = None


class Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of an inference request."""

    inputs: list[RequestInput]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestOutput] | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_FIELDS: Final = (
    *Request.__struct_fields__,
    *(field for field in RequestInput.__struct_fields__ if field != "parameters"),
)


class OpenInferenceCalls:
    """Answers V2 calls."""

    def __init__(self, native: NativeCalls, health: HealthCalls) -> None:
        self._native = native
        self._health = health

    async def infer(self, call: Call, name: str, version: str | None) -> None:
        """``POST /v2/models/{name}[/versions/{version}]/infer``."""
        call.uncounted = True
        require_json(call)
        body = await read_body(call, self._native.max_body)
        given = decode(body, _REQUEST, _FIELDS)
        request = self._native.request(call)
        asked = Asked(name, version, request.headers, request.routing_key)
        pipeline = self._native.pipeline(asked)
        if given.parameters:
            take_parameters(request, given.parameters)
        wanted = (
            chosen_outputs([output.name for output in given.outputs], pipeline)
            if given.outputs
            else tuple(pipeline.outputs)
        )
        inputs = to_inputs(given.inputs, pipeline)
        call.uncounted = False
        result = await self._native.run(call, pipeline, asked, inputs, request)
        await call.answer_json(_answer(result, pipeline, wanted, given.id))

    async def server(self, call: Call) -> None:
        """``GET /v2``."""
        await call.answer_json({"name": "headrace", "version": headrace.__version__, "extensions": EXTENSIONS})

    async def live(self, call: Call) -> None:
        """``GET /v2/health/live``."""
        await call.answer_json({"live": True})

    async def ready(self, call: Call) -> None:
        """``GET /v2/health/ready``: 503 until every required pipeline answers."""
        ready = self._health.ready
        await call.answer_json({"ready": ready}, 200 if ready else 503)

    async def model(self, call: Call, name: str, version: str | None) -> None:
        """``GET /v2/models/{name}[/versions/{version}]``."""
        pipeline = self._native.pipeline(Asked(name, version))
        versions = self._native.inference.engine.registry.versions(pipeline.ref.name)
        await call.answer_json(
            {
                "name": pipeline.ref.name,
                "versions": versions if version is None else [pipeline.ref.version],
                "platform": platform_of(pipeline),
                "inputs": [metadata_of(*column, batched=pipeline.batched) for column in pipeline.inputs.items()],
                "outputs": [metadata_of(*column, batched=pipeline.batched) for column in pipeline.outputs.items()],
            }
        )

    async def model_ready(self, call: Call, name: str, version: str | None) -> None:
        """``GET /v2/models/{name}[/versions/{version}]/ready``: 503 for one that is declared and not loaded."""
        self._native.pipeline(Asked(name, version))
        await call.answer_json({"name": name, "ready": True})


def _answer(result: Result, pipeline: Pipeline, outputs: Sequence[str], asked_id: str | None) -> dict[str, Any]:
    """The body of an answer. Raises the first row's error: a failed row fails the request."""
    answer: dict[str, Any] = {"model_name": result.ref.name, "model_version": result.ref.version}
    if asked_id is not None:
        answer["id"] = asked_id
    answer["outputs"] = [to_output(name, result.column(name), batched=pipeline.batched) for name in outputs]
    return answer
