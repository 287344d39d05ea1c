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
from headrace.adapters.grpc.generated.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from headrace.adapters.grpc.requests import Reader, Request
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

    async def infer(self, message: bytes, call: Call) -> bytes:
        """``ModelInfer``."""
        call.uncounted = True
        asked = self._reader.read(message)
        return await self._one(asked, call, self._context(asked, call, deadline_of(call.context)))

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

    def _context(self, asked: Request, call: Call, deadline: float | None) -> RequestContext:
        metadata = call.metadata
        request = RequestContext(
            call.id, deadline, NAME, headers=metadata, routing_key=metadata.get(ROUTING_KEY),
            fresh="no-cache" in metadata.get("cache-control", ""),
        )  # fmt: skip
        if asked.question.parameters:
            take_parameters(request, asked.question.parameters)
        return request

    def _pipeline(self, asked: Asked) -> Pipeline:
        try:
            return self._inference.pipeline(asked)
        except NotFound:
            return answering(self._inference, self._deployments, asked)

    async def _one(self, asked: Request, call: Call, request: RequestContext) -> bytes:
        question = asked.question
        named = Asked(question.model, question.version, request.headers, request.routing_key)
        pipeline = self._pipeline(named)
        layout = layout_of(question, pipeline)
        inputs = layout.inputs(asked.values)
        call.uncounted = False
        result = await self._inference.infer(named, inputs, request) if inputs.rows else no_rows(pipeline)
        return answer(result, pipeline, layout.outputs, asked)

    async def _several(self, asked: Request, call: Call) -> AsyncIterator[bytes]:
        """The answers to one request of a stream, each of which has the time that its pipeline allows."""
        question = asked.question
        request = self._context(asked, call, None)
        named = Asked(question.model, question.version, request.headers, request.routing_key)
        pipeline = self._pipeline(named)
        ends = question.parameters.get(_WANTS_END) is True
        if not isinstance(pipeline.model, GenerativeModel):
            yield await self._one(asked, call, request) + (_end(is_end=True) if ends else b"")
            return
        layout = layout_of(question, pipeline)
        inputs = layout.inputs(asked.values)
        call.uncounted = False
        async with aclosing(self._inference.generate(named, inputs, request)) as rows:
            async for row in rows:
                chunk = Result(pipeline.ref, {name: [value] for name, value in row.items()}, range(1), Timing())
                yield answer(chunk, pipeline, layout.outputs, asked) + (_end(is_end=False) if ends else b"")
        if ends:
            empty = Result(pipeline.ref, {}, range(0), Timing())
            yield answer(empty, pipeline, (), asked) + _end(is_end=True)


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
