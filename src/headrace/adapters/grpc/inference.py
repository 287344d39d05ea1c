"""Answers ``ModelInfer``, one request and one answer, and ``ModelStreamInfer``, any number of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from headrace.adapters.answering import answering
from headrace.adapters.grpc.caller import ROUTING_KEY, deadline_of
from headrace.adapters.grpc.convert import answer, layout_of
from headrace.adapters.grpc.door import NAME, Call, Door
from headrace.adapters.grpc.errors import text_of
from headrace.adapters.grpc.gathering import Gathering
from headrace.adapters.grpc.generated.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from headrace.adapters.grpc.requests import Question, Reader, Request
from headrace.adapters.grpc.wire import field
from headrace.adapters.http.rendering import no_rows
from headrace.adapters.open_inference.parameters import take_parameters
from headrace.domain.errors import NotFound
from headrace.domain.model import GenerativeModel
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.context import RequestContext, Result, Timing
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference

_STREAM_ANSWER: Final = 2
_WANTS_END: Final = "triton_enable_empty_final_response"
_IS_END: Final = "triton_final_response"


class InferenceCalls:
    """Answers inference calls."""

    def __init__(self, inference: Inference, deployments: Deployments, door: Door) -> None:
        self._inference = inference
        self._deployments = deployments
        self._door = door
        self._reader = Reader()
        self._gathering = Gathering()

    async def infer(self, message: bytes, call: Call) -> bytes:
        """``ModelInfer``."""
        if (turn := self._gathering.join()) is not None:
            await turn
        call.uncounted = True
        asked = self._reader.read(message)
        return await self._one(asked, call, deadline_of(call.context))

    async def stream(self, messages: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """``ModelStreamInfer``: requests are answered one after the other, in their order.

        A generative pipeline answers in chunks. What fails is told in the stream, which goes on.
        """
        while (message := await self._door.next_of(messages)) is not None:
            call.uncounted = True
            request: Request | None = None
            try:
                request = self._reader.read(message)
                async with aclosing(self._several(request, call)) as answers:
                    async for one in answers:
                        yield field(_STREAM_ANSWER, one)
            except Exception as error:
                yield _told(text_of(self._door.meant(call, error)), request)

    async def _one(self, asked: Request, call: Call, deadline: float | None) -> bytes:
        question = asked.question
        named = self._named(question, call)
        pipeline = self._pipeline(named)
        layout = layout_of(question, pipeline)
        inputs = layout.inputs(asked.values)
        request = _context(named, pipeline, question, call, deadline)
        call.uncounted = False
        if inputs.rows == 0:
            return answer(no_rows(pipeline), pipeline, layout.outputs, asked)
        return answer(await self._inference.infer(named, inputs, request), pipeline, layout.outputs, asked)

    def _named(self, question: Question, call: Call) -> Asked:
        if self._inference.router.route(question.model) is None:
            return Asked(question.model, question.version)  # nothing looks at the metadata
        return Asked(question.model, question.version, call.metadata, call.metadata.get(ROUTING_KEY))

    def _pipeline(self, asked: Asked) -> Pipeline:
        try:
            return self._inference.pipeline(asked)
        except NotFound:
            return answering(self._inference, self._deployments, asked)

    async def _several(self, asked: Request, call: Call) -> AsyncIterator[bytes]:
        """The answers to one request of a stream, each of which has the time that its pipeline allows."""
        question = asked.question
        named = self._named(question, call)
        pipeline = self._pipeline(named)
        ends = question.parameters.get(_WANTS_END) is True
        if not isinstance(pipeline.model, GenerativeModel):
            yield await self._one(asked, call, None) + (_end(is_end=True) if ends else b"")
            return
        layout = layout_of(question, pipeline)
        inputs = layout.inputs(asked.values)
        call.uncounted = False
        request = _context(named, pipeline, question, call, None)
        async with aclosing(self._inference.generate(named, inputs, request)) as rows:
            async for row in rows:
                chunk = Result(pipeline.ref, {name: [value] for name, value in row.items()}, range(1), Timing())
                yield answer(chunk, pipeline, layout.outputs, asked) + (_end(is_end=False) if ends else b"")
        if ends:
            empty = Result(pipeline.ref, {}, range(0), Timing())
            yield answer(empty, pipeline, (), asked) + _end(is_end=True)


def _context(
    asked: Asked, pipeline: Pipeline, question: Question, call: Call, deadline: float | None
) -> RequestContext:
    """What the services are told about *call*."""
    request = RequestContext("", deadline, NAME, headers=asked.headers, routing_key=asked.routing_key)
    if pipeline.spec.cache is not None:
        request.fresh = "no-cache" in call.metadata.get("cache-control", "")
    if question.parameters:
        take_parameters(request, question.parameters)
    return request


def _end(*, is_end: bool) -> bytes:
    """The encoded parameter that tells whether this is the last answer to its request."""
    message = ModelInferResponse()
    message.parameters[_IS_END].bool_param = is_end
    return message.SerializeToString()


def _told(text: str, request: Request | None) -> bytes:
    answer = ModelStreamInferResponse(error_message=text)
    if request is not None and request.id:
        answer.infer_response.id = request.id.decode()
    return answer.SerializeToString()
