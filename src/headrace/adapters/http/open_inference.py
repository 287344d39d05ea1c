"""The Open Inference Protocol V2 over REST: inference, metadata and health under ``/v2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import headrace
from headrace.adapters.http.body import read_body
from headrace.adapters.http.call import JSON, Answered, Call
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference_answers import reply, written
from headrace.adapters.http.open_inference_bodies import WORTH_PLACING, head_length, read_tensors, require_readable
from headrace.adapters.http.open_inference_forms import Forms
from headrace.adapters.http.open_inference_generate import GenerateCalls
from headrace.adapters.http.open_inference_repeats import Before, Repeat, Repeats
from headrace.adapters.http.open_inference_repository import RepositoryCalls
from headrace.adapters.http.open_inference_requests import (
    Question,
    Wanted,
    read_bare,
    read_binary,
    read_json,
    require_model,
    wanted_outputs,
)
from headrace.adapters.http.open_inference_tensors import to_inputs
from headrace.adapters.http.quick import Finish, Starting
from headrace.adapters.open_inference.datatypes import metadata_of, platform_of
from headrace.adapters.open_inference.models import EXTENSIONS as COMMON_EXTENSIONS
from headrace.adapters.open_inference.parameters import take_parameters
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.choice import Choice
from headrace.services.context import Inputs, RequestContext, Result

EXTENSIONS: Final[Sequence[str]] = ("binary_tensor_data", *COMMON_EXTENSIONS, "generate")
"""What ``GET /v2`` announces."""
_FORM: Final = frozenset({"binary_data_output"})
"""Parameters of a request that steer nothing but the form of its answer."""


class OpenInferenceCalls:
    """Answers V2 calls."""

    def __init__(self, native: NativeCalls, health: HealthCalls) -> None:
        self.repository = RepositoryCalls(native)
        self.generation = GenerateCalls(native)
        self._native = native
        self._health = health
        self._repeats = Repeats()
        self._forms = Forms()

    async def infer(self, call: Call, name: str, version: str | None) -> None:
        """``POST /v2/models/{name}[/versions/{version}]/infer``."""
        call.uncounted = True
        head = head_length(call)
        require_readable(call)
        limit = self._native.max_body
        body = await (read_body(call, limit) if head is None else read_tensors(call, head, limit))
        request = self._native.request(call)
        choice = self._native.choose(call, Asked(name, version, request.headers, request.routing_key))
        pipeline = choice.pipeline
        before = (name, version, body) if pipeline.spec.cache is not None and head is None else None
        if before is not None and (repeat := self._repeats.find(pipeline, before)) is not None:
            await self._again(call, choice, request, before, repeat)
            return
        question = _question(body, head, pipeline)
        inputs, wanted = _understood(question, pipeline, name, version, request)
        result = await self._native.run(call, choice, inputs, request, call.stopwatch)
        answer = await reply(call, result, pipeline, wanted, question.request.id)
        if before is not None and answer is not None and not question.request.parameters:
            repeat = Repeat(pipeline, inputs, wanted, question.request.id)
            self._repeats.remember(pipeline, before, repeat, result, answer)

    def start(self, call: Call, body: bytes, finish: Finish, name: str, version: str | None) -> Starting:
        """`infer` without waiting: if no stopwatch runs, no answer must be waited for, no tensor is worth placing."""
        call.uncounted = True
        head = head_length(call)
        if call.stopwatch is not None or not _small(body, head):
            return None
        if not call.wishes.says_json:
            if head is None:
                return None
            require_readable(call)
        request = self._native.request(call)
        choice = self._native.choose(call, Asked(name, version, request.headers, request.routing_key))
        pipeline = choice.pipeline
        if pipeline.spec.cache is not None:
            if head is not None:
                return None
            return self._start_again(call, choice, request, (name, version, body), finish)
        if head is None and (known := self._forms.read(body, pipeline)) is not None:
            (inputs, wanted), asked_id = known, None
        else:
            question = _question(body, head, pipeline)
            inputs, wanted = _understood(question, pipeline, name, version, request)
            asked_id = question.request.id
            if head is None:
                self._forms.remember(body, question.request, pipeline, wanted)

        def answer(result: Result) -> Answered:
            call.packs = True
            return written(result, pipeline, wanted, asked_id)

        return self._native.start(call, choice, inputs, request, finish, answer)

    def _start_again(
        self, call: Call, choice: Choice, request: RequestContext, before: Before, finish: Finish
    ) -> Starting:
        """A request to a pipeline whose answers are kept: only if it came before, and its answer is at hand."""
        pipeline = choice.pipeline
        repeat = self._repeats.find(pipeline, before)
        if repeat is None:
            return None

        def answer(result: Result) -> Answered:
            call.packs = True
            if result.columns is repeat.columns:
                return repeat.written, JSON, ()
            return written(result, pipeline, repeat.wanted, repeat.asked_id)

        return self._native.start(call, choice, repeat.inputs, request, finish, answer)

    async def _again(self, call: Call, choice: Choice, request: RequestContext, before: Before, repeat: Repeat) -> None:
        """Answer a request that came before: look up its answer like any other's, and write it if it is not written."""
        pipeline = choice.pipeline
        result = await self._native.run(call, choice, repeat.inputs, request, call.stopwatch)
        if result.columns is repeat.columns and call.stopwatch is None:
            call.packs = True
            await call.answer(repeat.written)
            return
        answer = await reply(call, result, pipeline, repeat.wanted, repeat.asked_id)
        if answer is not None:
            self._repeats.remember(pipeline, before, repeat, result, answer)

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
        pipeline = self._native.choose(call, Asked(name, version)).pipeline
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
        self._native.choose(call, Asked(name, version))
        await call.answer_json({"name": name, "ready": True})


def _understood(
    question: Question, pipeline: Pipeline, name: str, version: str | None, request: RequestContext
) -> tuple[Inputs, Sequence[Wanted]]:
    """The inputs of a request and the outputs that it wants; what else it asks for goes into *request*."""
    given = question.request
    require_model(given, name, version)
    if given.parameters and not given.parameters.keys() <= _FORM:
        take_parameters(request, given.parameters)
    return to_inputs(question, pipeline), wanted_outputs(question, pipeline)


def _small(body: bytes, head: int | None) -> bool:
    """Whether tensors behind the JSON may lie where they came to lie."""
    return head is None or len(body) < WORTH_PLACING


def _question(body: bytes | memoryview, head: int | None, pipeline: Pipeline) -> Question:
    if head is None:
        return read_json(bytes(body))
    return read_binary(body, head) if head else read_bare(body, pipeline)
