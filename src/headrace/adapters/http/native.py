"""Native inference calls: the envelope in, the answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headrace.adapters.choosing import chosen
from headrace.adapters.explaining import Stopwatch, explained
from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import JSON, Answered, Call
from headrace.adapters.http.departures import Departures
from headrace.adapters.http.quick import Answer, Finish, Starting
from headrace.adapters.http.rendering import all_failed, many_rows, no_rows, one_row, ready_made, to_json
from headrace.adapters.http.settings import ApiSettings
from headrace.adapters.limits import too_many_rows
from headrace.domain.errors import InvalidRequest
from headrace.domain.routing import Asked
from headrace.services.choice import Choice
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs

Metadata = Mapping[str, Any]


class Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of ``POST inference``."""

    inputs: dict[str, Any] | list[dict[str, Any]]
    pipeline: str | None = None
    version: str | int | None = None
    model: str | None = None
    options: dict[str, Any] | None = None


class NamedEnvelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of ``POST models/{name}/predict``: the path has named the pipeline."""

    inputs: dict[str, Any] | list[dict[str, Any]]
    version: str | int | None = None
    model: str | None = None
    options: dict[str, Any] | None = None


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_NAMED: Final = msgspec.json.Decoder(NamedEnvelope)
_NO_OPTIONS: Final[Mapping[str, Any]] = {}


class NativeCalls:
    """Answers native inference calls."""

    def __init__(
        self, inference: Inference, deployments: Deployments, departures: Departures, settings: ApiSettings
    ) -> None:
        self.inference = inference
        self.deployments = deployments
        self.departures = departures
        self.max_body = settings.max_body
        self._max_rows = settings.max_rows

    async def infer(self, call: Call) -> None:
        """``POST /api/v1/inference``."""
        call.uncounted = True
        require_json(call)
        body = await read_body(call, self.max_body)
        envelope = decode(body, _ENVELOPE, Envelope.__struct_fields__)
        name = envelope.pipeline or self._unnamed(envelope.model)
        await self._answer(call, name, envelope)

    async def predict(self, call: Call, name: str) -> None:
        """``POST models/{name}/predict``, under ``/api/v1`` and at the root."""
        call.uncounted = True
        require_json(call)
        body = await read_body(call, self.max_body)
        await self._answer(call, name, decode(body, _NAMED, NamedEnvelope.__struct_fields__))

    def _unnamed(self, model: str | None) -> str:
        """The pipeline of a request that names none: the default, or the one that is its model served bare."""
        return "" if model is None or self.inference.default_runs(model) else model

    def start_infer(self, call: Call, body: bytes, finish: Finish) -> Starting:
        """`infer` without waiting."""
        if not call.wishes.says_json:
            return None
        call.uncounted = True
        envelope = decode(body, _ENVELOPE, Envelope.__struct_fields__)
        return self._start(call, envelope.pipeline or self._unnamed(envelope.model), envelope, finish)

    def start_predict(self, call: Call, body: bytes, finish: Finish, name: str) -> Starting:
        """`predict` without waiting."""
        if not call.wishes.says_json:
            return None
        call.uncounted = True
        return self._start(call, name, decode(body, _NAMED, NamedEnvelope.__struct_fields__), finish)

    async def _answer(self, call: Call, name: str, envelope: Envelope | NamedEnvelope) -> None:
        watch = call.stopwatch
        options: Mapping[str, Any] = envelope.options or _NO_OPTIONS
        if "explain" in options:
            watch = watch or (Stopwatch() if options["explain"] else None)
            options = {key: value for key, value in options.items() if key != "explain"}
        choice, inputs, request = self._understood(call, name, envelope, options)
        result = await self.run(call, choice, inputs, request, watch)
        await call.answer_json(self.envelope(call, result, self._outputs(envelope, result), watch=watch))

    def _start(self, call: Call, name: str, envelope: Envelope | NamedEnvelope, finish: Finish) -> Starting:
        options: Mapping[str, Any] = envelope.options or _NO_OPTIONS
        if "explain" in options:
            return None
        choice, inputs, request = self._understood(call, name, envelope, options)

        def answer(result: Result) -> Answered:
            return to_json(self.envelope(call, result, self._outputs(envelope, result))), JSON, ()

        return self.start(call, choice, inputs, request, finish, answer)

    def _understood(
        self, call: Call, name: str, envelope: Envelope | NamedEnvelope, options: Mapping[str, Any]
    ) -> tuple[Choice, Inputs, RequestContext]:
        """Which pipeline is asked what, in the services' words."""
        given = envelope.inputs
        rows: Sequence[Mapping[str, Any]] = given if isinstance(given, list) else (given,)
        if len(rows) > self._max_rows:
            raise too_many_rows(len(rows), self._max_rows)
        version = envelope.version
        request = self.request(call, options)
        named = str(version) if version is not None else None
        choice = self.choose(call, Asked(name, named, request.headers, request.routing_key, rows[0] if rows else None))
        pipeline = choice.pipeline
        if envelope.model is not None and envelope.model != pipeline.model_name:
            raise InvalidRequest(
                f"the request names the model {envelope.model!r:.200}, and pipeline {pipeline.ref} runs "
                f"{pipeline.model_name!r}; leave the model out, or name a pipeline that runs it"
            )
        return choice, rows_to_inputs(pipeline, rows), request

    def _outputs(self, envelope: Envelope | NamedEnvelope, result: Result) -> Any:
        """What stands under ``outputs``: a list if a list was asked."""
        return self._listed(result) if isinstance(envelope.inputs, list) else one_row(result)

    def request(self, call: Call, options: Mapping[str, Any] = _NO_OPTIONS) -> RequestContext:
        """What the services are told about *call*. Raises InvalidRequest for a bad ``X-Timeout-Ms``."""
        wishes = call.wishes
        return RequestContext(
            call.request_id,
            None if wishes.timeout_ms is None else call.deadline(),
            "http",
            caller=call.caller,
            options=options,
            headers=wishes.texts,
            routing_key=wishes.routing_key,
            fresh=wishes.fresh,
            traceparent=wishes.traceparent,
        )

    def choose(self, call: Call, asked: Asked) -> Choice:
        """Which pipeline answers *call*, chosen once for all of the ways that it takes.

        Raises NotFound, or NotReady for one that is declared and not loaded.
        """
        if call.choice is None:
            call.choice = chosen(self.inference, self.deployments, asked)
        return call.choice

    async def run(
        self,
        call: Call,
        choice: Choice,
        inputs: Inputs,
        request: RequestContext,
        watch: Stopwatch | None = None,
    ) -> Result:
        """Infer, and stop when the client leaves."""
        if watch is not None:
            return await watch.following(self.run(call, choice, inputs, request))
        if inputs.rows == 0:
            return no_rows(choice.pipeline)
        self._require_few(inputs)
        self.departures.join(call)
        call.uncounted = False
        return await self.inference.infer(choice, inputs, request)

    def start(
        self, call: Call, choice: Choice, inputs: Inputs, request: RequestContext, finish: Finish, answer: Answer
    ) -> Starting:
        """Infer without waiting: what *finish* makes of *answer* is told the end, unless None is returned."""
        if inputs.rows == 0:
            return None
        self._require_few(inputs)
        course = self.inference.start(choice, inputs, request, finish(answer))
        call.uncounted = False
        return course

    def _require_few(self, inputs: Inputs) -> None:
        """Raises TooLarge for more rows than may be; arrays are as quick to check as to read, single values are not."""
        if inputs.rows > self._max_rows and any(isinstance(column, list) for column in inputs.columns.values()):
            raise too_many_rows(inputs.rows, self._max_rows)

    def _listed(self, result: Result) -> list[Mapping[str, Any]]:
        if (error := all_failed(result)) is not None:
            raise error
        return many_rows(result)

    def data(
        self, result: Result, outputs: Any, *, metadata: Metadata | None = None, watch: Stopwatch | None = None
    ) -> dict[str, Any]:
        """The ``data`` of an answer."""
        data = {
            "pipeline": result.ref.name,
            "version": result.ref.version,
            "outputs": outputs,
            "cached": result.cached,
            "timestamp": datetime.now(UTC),
        }
        if metadata is not None:
            data["metadata"] = metadata
        if watch is not None:
            data["outputs"] = ready_made(outputs)
            watch.mark("render")
            data["explain"] = explained(result, watch)
        return data

    def envelope(
        self,
        call: Call,
        result: Result,
        outputs: Any,
        *,
        metadata: Metadata | None = None,
        watch: Stopwatch | None = None,
    ) -> dict[str, Any]:
        """The body of a successful inference."""
        return success(call, self.data(result, outputs, metadata=metadata, watch=watch))


def success(call: Call, data: Any) -> dict[str, Any]:
    """The body of any successful native call."""
    return {"success": True, "data": data, "request_id": call.request_id}
