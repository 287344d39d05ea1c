"""The generate extension: one text in, one text out, whole or in server-sent events as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.explaining import timed
from headrace.adapters.http.body import decode_anything, read_body
from headrace.adapters.http.call import Call, ClientLeft
from headrace.adapters.http.errors import open_inference_failure
from headrace.adapters.http.event_stream import EventStream
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference_bodies import require_readable
from headrace.adapters.http.openai_columns import text_input, text_output
from headrace.adapters.open_inference.parameters import take_parameters
from headrace.domain.errors import EngineError, InvalidRequest, NotReady
from headrace.domain.model import GenerativeModel
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.context import Inputs, RequestContext
from headrace.services.inputs import rows_to_inputs

_OURS: Final = ("text_input", "id", "parameters")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be generated, and what stands around each text of the answer."""

    pipeline: Pipeline
    inputs: Inputs
    context: RequestContext
    output: str
    told: Mapping[str, str]

    def answer(self, text: str) -> dict[str, Any]:
        """The body, or one event, with *text*."""
        return {**self.told, "text_output": text}


class GenerateCalls:
    """Answers generate calls."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def generate(self, call: Call, name: str, version: str | None) -> None:
        """``POST /v2/models/{name}[/versions/{version}]/generate``: the whole text."""
        order = await self._order(call, name, version)
        watch = call.stopwatch
        if watch is not None:
            watch.mark("decode")
        async with aclosing(self._rows(order)) as rows:
            text = "".join([str(row[order.output]) async for row in rows])
        answer = order.answer(text)
        if watch is not None:
            watch.mark("generate")
            answer["parameters"] = {"explain": timed(watch)}
        await call.answer_json(answer)

    async def stream(self, call: Call, name: str, version: str | None) -> None:
        """``POST .../generate_stream``: an event for each piece of text.

        A failure before the first event has its status; a later one is an event of its own, and the last.
        """
        order = await self._order(call, name, version)
        events = EventStream(call)
        events.keep_to(order.context.deadline, order.pipeline.spec.timeout_s)
        try:
            async with aclosing(self._rows(order)) as rows:
                async for row in rows:
                    await events.send(order.answer(str(row[order.output])))
            await events.end()
        except ClientLeft:
            raise
        except Exception as error:
            await _tell(events, call, meaning_of(error))
            raise
        except asyncio.CancelledError:
            if not call.departed:
                await _tell(events, call, NotReady("the server stopped before this answer was complete"))
            raise

    async def _order(self, call: Call, name: str, version: str | None) -> Order:
        call.uncounted = True
        require_readable(call)
        body = decode_anything(await read_body(call, self._native.max_body))
        request = self._native.request(call)
        pipeline = self._native.choose(call, Asked(name, version, request.headers, request.routing_key)).pipeline
        if not isinstance(body, dict):
            raise InvalidRequest("the body is no JSON object with a `text_input`")
        row = _row(body, pipeline, request)
        output = text_output(pipeline)
        if output is None or not isinstance(pipeline.model, GenerativeModel):
            raise InvalidRequest(f"pipeline {pipeline.ref} does not generate text; /infer answers for it")
        told = {"model_name": pipeline.ref.name, "model_version": pipeline.ref.version}
        if body.get("id") is not None:
            told["id"] = _text(body, "id")
        order = Order(pipeline, rows_to_inputs(pipeline, [row]), request, output, told)
        call.uncounted = False
        self._native.departures.join(call)
        return order

    def _rows(self, order: Order) -> Any:
        """The chunks of an answer."""
        return self._native.inference.generate(order.pipeline, order.inputs, order.context)


def _row(body: Mapping[str, Any], pipeline: Pipeline, request: RequestContext) -> dict[str, Any]:
    """The inputs in *body*: the text, and what bears the name of another input, beside it or among the parameters.

    Other parameters steer the *request*. Raises InvalidRequest.
    """
    text, column = _text(body, "text_input"), text_input(pipeline)
    if column is None:
        raise InvalidRequest(f"pipeline {pipeline.ref} takes no text; it takes {', '.join(pipeline.inputs) or 'none'}")
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("parameters want an object")
    row = {name: value for name, value in parameters.items() if name in pipeline.inputs}
    take_parameters(request, {name: value for name, value in parameters.items() if name not in pipeline.inputs})
    for name, value in body.items():
        if name in _OURS:
            continue
        if name not in pipeline.inputs:
            known = [*_OURS, *pipeline.inputs]
            raise InvalidRequest(f"unknown field {name!r:.200}{nearest(name, known)}; there are: {', '.join(known)}")
        row[name] = value
    return {**row, column: text}


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(
            f"{name} wants a text" + (f", not {value!r:.40}" if name in body else ", and is not there")
        )
    return value


async def _tell(events: EventStream, call: Call, error: EngineError) -> None:
    """End a stream that has begun with *error*."""
    if call.started:
        await events.send(open_inference_failure(error, call.request_id))
        await events.end()
