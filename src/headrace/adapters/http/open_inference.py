"""The Open Inference Protocol V2 over REST, in JSON: inference, metadata and health under ``/v2``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

import headrace
from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference_tensors import (
    RequestInput,
    chosen_outputs,
    metadata_of,
    to_inputs,
    to_output,
)
from headrace.domain.errors import InvalidRequest
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.context import RequestContext, Result

EXTENSIONS: Final[Sequence[str]] = ("schedule_policy",)

_RESERVED: Final = ("sequence_", "triton_", "binary_data_output", "headers", "priority", "timeout")


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
            _take_parameters(request, given.parameters)
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
                "platform": _platform(pipeline),
                "inputs": [metadata_of(*column, batched=pipeline.batched) for column in pipeline.inputs.items()],
                "outputs": [metadata_of(*column, batched=pipeline.batched) for column in pipeline.outputs.items()],
            }
        )

    async def model_ready(self, call: Call, name: str, version: str | None) -> None:
        """``GET /v2/models/{name}[/versions/{version}]/ready``: 503 for one that is declared and not loaded."""
        self._native.pipeline(Asked(name, version))
        await call.answer_json({"name": name, "ready": True})


def _take_parameters(request: RequestContext, parameters: Mapping[str, Any]) -> None:
    """``priority`` and ``timeout`` (microseconds) steer the queue; keys that the protocol leaves free are options."""
    for key, value in parameters.items():
        if not isinstance(value, str | int | float | bool):
            raise InvalidRequest(f"parameter {key!r} wants a text, a number or a boolean")
    if (priority := parameters.get("priority")) is not None:
        request.priority = _whole(priority, "priority")
    if timeout_us := _whole(parameters.get("timeout", 0), "timeout"):
        until = time.monotonic() + timeout_us / 1e6
        request.deadline = until if request.deadline is None else min(until, request.deadline)
    for key in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(key) not in (None, 0, "", False):
            raise InvalidRequest(f"parameter {key!r}: the sequence extension is not served here")
    options = {key: value for key, value in parameters.items() if not key.startswith(_RESERVED)}
    if options:
        request.options = options


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"parameter {name!r} wants an integer that is not negative, not {value!r:.40}")
    return value


def _answer(result: Result, pipeline: Pipeline, outputs: Sequence[str], asked_id: str | None) -> dict[str, Any]:
    """The body of an answer. Raises the first row's error: a failed row fails the request."""
    answer: dict[str, Any] = {"model_name": result.ref.name, "model_version": result.ref.version}
    if asked_id is not None:
        answer["id"] = asked_id
    answer["outputs"] = [to_output(name, result.column(name), batched=pipeline.batched) for name in outputs]
    return answer


def _platform(pipeline: Pipeline) -> str:
    return str(pipeline.model.describe().get("platform", "headrace_pipeline"))
