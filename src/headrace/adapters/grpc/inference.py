"""Answers ``ModelInfer``, one request and one answer, and ``ModelStreamInfer``, any number of both."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from headrace.adapters.choosing import chosen
from headrace.adapters.grpc.caller import ROUTING_KEY, Metadata, admit, deadline_of, request_id_of
from headrace.adapters.grpc.convert import Layout, answer, layout_of
from headrace.adapters.grpc.door import NAME, Call, Door
from headrace.adapters.grpc.errors import text_of
from headrace.adapters.grpc.gathering import Gathering
from headrace.adapters.grpc.generated.open_inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from headrace.adapters.grpc.requests import Reader, Request
from headrace.adapters.grpc.wire import field
from headrace.adapters.http.openai_columns import generates
from headrace.adapters.http.rendering import no_rows
from headrace.adapters.limits import too_many_rows
from headrace.adapters.open_inference.parameters import take_parameters
from headrace.core.logging import request_id
from headrace.domain.routing import Asked
from headrace.services.choice import Choice
from headrace.services.context import ANYBODY, Caller, Inputs, RequestContext, Result, Timing
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference

_STREAM_ANSWER: Final = 2
_WANTS_END: Final = "triton_enable_empty_final_response"
_IS_END: Final = "triton_final_response"


class Prepared(NamedTuple):
    """A request that may go on: all that can be wrong with it before it runs is not."""

    choice: Choice
    layout: Layout
    inputs: Inputs
    about: RequestContext


class InferenceCalls:
    """Answers inference calls."""

    def __init__(self, inference: Inference, deployments: Deployments, door: Door, max_rows: int) -> None:
        """*max_rows* is how many rows of single values one request may bring."""
        self._max_rows = max_rows
        self._inference = inference
        self._deployments = deployments
        self._door = door
        self._reader = Reader()
        self._gathering = Gathering()

    async def infer(self, message: bytes, context: Any) -> bytes:
        """``ModelInfer``. It does what `Door.unary` does around other calls: one more coroutine would cost too much."""
        door, counted = self._door, True
        door.in_flight += 1
        try:
            if door.closed:
                door.require_open()
            caller = ANYBODY if door.credentials is None else admit(door.credentials, Metadata(context))
            counted = False
            if (turn := self._gathering.join()) is not None:
                await turn
            request = self._reader.read(message)
            choice, layout, inputs, about = self._prepared(request, context, deadline_of(context), caller)
            counted, pipeline = True, choice.pipeline
            result = await self._inference.infer(choice, inputs, about) if inputs.rows else no_rows(pipeline)
            return answer(result, pipeline, layout.outputs, request)
        except BaseException as error:
            await door.fail(Call(context), error, counted=counted)
        finally:
            door.in_flight -= 1

    async def stream(self, messages: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """``ModelStreamInfer``: requests are answered one after the other, in their order.

        A generative pipeline answers in chunks. What fails is told in the stream, which goes on.
        """
        while (message := await self._door.next_of(messages)) is not None:
            request: Request | None = None
            counted = True
            try:
                call.caller = admit(self._door.credentials, call.metadata)  # the key may have been revoked meanwhile
                counted = False
                request = self._reader.read(message)
                prepared = self._prepared(request, call.context, None, call.caller)
                _end_with(call.context, prepared)
                counted = True
                async with aclosing(self._several(request, prepared)) as answers:
                    async for one in answers:
                        yield field(_STREAM_ANSWER, one)
            except Exception as error:
                yield _told(text_of(self._door.meant(call, error, counted=counted)), request)

    def _prepared(self, request: Request, context: Any, deadline: float | None, caller: Caller) -> Prepared:
        question = request.question
        asked = question.asked
        if self._inference.routed(asked):  # else nothing looks at the metadata
            metadata = Metadata(context)
            asked = Asked(asked.name, asked.version, metadata, metadata.get(ROUTING_KEY))
        choice = chosen(self._inference, self._deployments, asked)
        pipeline = choice.pipeline
        layout = layout_of(question, pipeline)
        if layout.listed and layout.rows > self._max_rows:
            raise too_many_rows(layout.rows, self._max_rows)
        inputs = layout.inputs(request.values)
        about = RequestContext("", deadline, NAME, caller=caller, headers=asked.headers, routing_key=asked.routing_key)
        if pipeline.spec.cache is not None:
            about.fresh = "no-cache" in Metadata(context).get("cache-control", "")
        if self._inference.engine.witness is not None:
            about.headers = metadata = Metadata(context)
            about.request_id = request_id_of(metadata)
            about.traceparent = metadata.get("traceparent")
            request_id.set(about.request_id)
        if question.parameters:
            take_parameters(about, question.parameters)
        return Prepared(choice, layout, inputs, about)

    async def _several(self, request: Request, prepared: Prepared) -> AsyncGenerator[bytes]:
        """The answers to one request of a stream, each of which has the time that its pipeline allows."""
        ends = request.question.parameters.get(_WANTS_END) is True
        choice, layout, inputs, about = prepared
        pipeline = choice.pipeline
        if not generates(pipeline):
            result = await self._inference.infer(choice, inputs, about) if inputs.rows else no_rows(pipeline)
            yield answer(result, pipeline, layout.outputs, request) + (_end(is_end=True) if ends else b"")
            return
        async with aclosing(self._inference.generate(pipeline, inputs, about)) as rows:
            async for row in rows:
                chunk = Result(pipeline.ref, {name: [value] for name, value in row.items()}, range(1), Timing())
                yield answer(chunk, pipeline, layout.outputs, request) + (_end(is_end=False) if ends else b"")
        if ends:
            yield answer(Result(pipeline.ref, {}, range(0), Timing()), pipeline, (), request) + _end(is_end=True)


def _end_with(context: Any, prepared: Prepared) -> None:
    """Let a request of a stream end with the stream at the latest."""
    if (ends := deadline_of(context)) is not None:
        own = prepared.about.deadline or time.monotonic() + prepared.choice.pipeline.spec.timeout_s
        prepared.about.deadline = min(ends, own)


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
