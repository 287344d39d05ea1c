"""``POST /v1/completions`` and ``/v1/chat/completions``: generated text, whole or as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.call import Call, ClientLeft
from headrace.adapters.http.errors import openai_failure
from headrace.adapters.http.event_stream import DONE, EventStream
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.openai_answers import ChatCompletion, Choice, Completion, Usage
from headrace.adapters.http.openai_chat import chat_row, words_said
from headrace.adapters.http.openai_columns import prompt_rows, required_text, words_in
from headrace.adapters.http.openai_requests import (
    ChatRequest,
    CompletionRequest,
    asked_for,
    further_inputs,
    prompts_of,
    read,
    refused,
)
from headrace.adapters.http.openai_writing import Limits, Writing
from headrace.domain.errors import NotReady
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Inputs, RequestContext
from headrace.services.inference import enough
from headrace.services.inputs import rows_to_inputs


@dataclass(frozen=True, slots=True)
class Part:
    """One prompt: its inputs, and its length in tokens unless the pipeline tells better."""

    inputs: Inputs
    tokens: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be generated, by whom, and how it is told."""

    pipeline: Pipeline
    context: RequestContext
    parts: Sequence[Part]
    limits: Limits
    told: Completion


class CompletionCalls:
    """Answers completion calls. Prompts of one request are answered one after another, each as its own choice."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def complete(self, call: Call) -> None:
        """``POST /v1/completions``."""
        call.uncounted = True
        given, body = await read(call, CompletionRequest, self._native.max_body)
        context, pipeline = self._found(call, given.model, body)
        further = further_inputs(body, CompletionRequest, pipeline)
        prompts = prompts_of(given.prompt, "prompt")
        rows = prompt_rows(pipeline, prompts, "prompt")
        limits = _limits(given, given.max_tokens, "max_tokens", pipeline, further)
        parts = [
            Part(rows_to_inputs(pipeline, [{**further, **row}]), words_in([prompt]))
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        told = Completion(call.request_id, str(pipeline.ref), pipeline.digest, _counted(given))
        await self._answer(call, Order(pipeline, context, parts, limits, told), stream=bool(given.stream))

    async def chat(self, call: Call) -> None:
        """``POST /v1/chat/completions``."""
        call.uncounted = True
        given, body = await read(call, ChatRequest, self._native.max_body)
        context, pipeline = self._found(call, given.model, body)
        further = further_inputs(body, ChatRequest, pipeline)
        row = chat_row(pipeline, given.messages)
        most, param = given.max_completion_tokens, "max_completion_tokens"
        if most is None:
            most, param = given.max_tokens, "max_tokens"
        limits = _limits(given, most, param, pipeline, further)
        part = Part(rows_to_inputs(pipeline, [{**further, **row}]), words_said(given.messages))
        told = ChatCompletion(call.request_id, str(pipeline.ref), pipeline.digest, _counted(given))
        await self._answer(call, Order(pipeline, context, [part], limits, told), stream=bool(given.stream))

    def _found(self, call: Call, model: str | None, body: Mapping[str, Any]) -> tuple[RequestContext, Pipeline]:
        context = self._native.request(call)
        pipeline = self._native.choose(call, asked_for(model, context, body)).pipeline
        required_text(pipeline)
        return context, pipeline

    async def _answer(self, call: Call, order: Order, *, stream: bool) -> None:
        call.uncounted = False
        self._native.departures.join(call)
        if stream:
            await self._stream(call, order)
        else:
            await self._whole(call, order)

    async def _whole(self, call: Call, order: Order) -> None:
        choices: list[Choice] = []
        usage = Usage()
        for index, part in enumerate(order.parts):
            writing = _writing(order)
            async with aclosing(self._rows(order, part)) as rows:
                text = "".join([piece async for piece in writing.pieces(rows)])
                await enough(rows)
            choices.append(Choice(index, text, writing.finish_reason))
            usage = _added(usage, writing, part)
        await call.answer_json(order.told.whole(choices, usage))

    async def _stream(self, call: Call, order: Order) -> None:
        """A failure before the first event has its status; a later one is an event of its own, and the last."""
        stream = EventStream(call)
        try:
            usage = await self._events(stream, order)
            if order.told.counted:
                await stream.send(order.told.totals(usage))
            await stream.end(DONE)
        except ClientLeft:
            raise
        except Exception as error:
            if call.started:
                await stream.send(openai_failure(meaning_of(error)))
                await stream.end()
            raise
        except asyncio.CancelledError:
            if call.started and not call.departed:
                await stream.send(openai_failure(NotReady("the server stopped before this answer was complete")))
            raise

    async def _events(self, stream: EventStream, order: Order) -> Usage:
        told, usage = order.told, Usage()
        for index, part in enumerate(order.parts):
            writing = _writing(order)
            opening = told.opening(index)
            stream.keep_to(order.context.deadline, order.pipeline.spec.timeout_s)
            async with aclosing(self._rows(order, part)) as rows:
                async for piece in writing.pieces(rows):
                    if opening is not None:
                        await stream.send(opening)
                        opening = None
                    await stream.send(told.piece(index, piece))
                await enough(rows)
            if opening is not None:
                await stream.send(opening)
            await stream.send(told.ending(index, writing.finish_reason))
            usage = _added(usage, writing, part)
        return usage

    def _rows(self, order: Order, part: Part) -> Any:
        """The chunks of an answer."""
        return self._native.inference.generate(order.pipeline, part.inputs, order.context)


def _counted(given: CompletionRequest | ChatRequest) -> bool:
    """Whether a stream tells its usage."""
    if given.stream_options is None:
        return False
    if not given.stream:
        raise refused("stream_options", "stream_options: wanted only together with stream: true")
    return bool(given.stream_options.include_usage)


def _limits(
    given: CompletionRequest | ChatRequest,
    most: int | None,
    param: str,
    pipeline: Pipeline,
    further: dict[str, Any],
) -> Limits:
    """Where answers end. A pipeline with an input ``max_tokens`` gets the limit, which goes into *further*."""
    stops = [given.stop] if isinstance(given.stop, str) else given.stop or []
    if "" in stops:
        raise refused("stop", "stop: a text to stop at wants at least one character")
    if most is not None and most < 1:
        raise refused(param, f"{param}: at least 1 is wanted, not {most}")
    spec = pipeline.inputs.get("max_tokens")
    if spec is None:
        return Limits(stops, most)
    if most is not None:
        further["max_tokens"] = most
    elif isinstance(spec.default, int) and spec.default > 0:
        most = spec.default
    return Limits(stops, most, cut=False)


def _writing(order: Order) -> Writing:
    return Writing(required_text(order.pipeline), order.limits)


def _added(usage: Usage, writing: Writing, part: Part) -> Usage:
    prompt = part.tokens if writing.prompt_tokens is None else writing.prompt_tokens
    return Usage(usage.prompt + prompt, usage.completion + writing.tokens)
