"""What does a V2 answer look like: JSON alone, or JSON with raw tensors behind it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.adapters.explaining import Stopwatch, explained
from headrace.adapters.http.call import JSON, Call, HeaderList
from headrace.adapters.http.open_inference_requests import Wanted
from headrace.adapters.http.open_inference_tensors import json_tensor, raw_tensor, to_output, to_raw_output
from headrace.adapters.http.rendering import ready_made, to_json
from headrace.adapters.open_inference.classification import classified
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Result

OCTETS: Final = b"application/octet-stream"
HEAD: Final = b"inference-header-content-length"


@dataclass(slots=True)  # not frozen: made for every request, and that would take twice as long
class Written:
    """An answer: JSON, and the raw tensors behind it."""

    head: bytes
    raws: Sequence[Any]

    @property
    def media(self) -> bytes:
        """The media type."""
        return OCTETS if self.raws else JSON

    @property
    def extra(self) -> HeaderList:
        """The headers that it needs."""
        return [(HEAD, b"%d" % len(self.head))] if self.raws else []

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join([self.head, *self.raws]) if self.raws else self.head


async def reply(
    call: Call, result: Result, pipeline: Pipeline, wanted: Sequence[Wanted], asked_id: str | None
) -> bytes | None:
    """Answer *call* with the *wanted* outputs. Raises the first row's error: a failed row fails the request.

    Returns what was written, if it says nothing that is true of this request alone.
    """
    answer = written(result, pipeline, wanted, asked_id, call.stopwatch)
    call.packs = True
    await call.answer(answer.body, 200, answer.media, answer.extra)
    return None if answer.raws or call.stopwatch is not None else answer.head


def written(
    result: Result,
    pipeline: Pipeline,
    wanted: Sequence[Wanted],
    asked_id: str | None,
    watch: Stopwatch | None = None,
) -> Written:
    """The answer with the *wanted* outputs. Raises the first row's error."""
    answer: dict[str, Any] = {"model_name": result.ref.name, "model_version": result.ref.version}
    if asked_id is not None:
        answer["id"] = asked_id
    raws: list[Any] = []
    answer["outputs"] = [_output(one, result, pipeline, raws) for one in wanted]
    if pipeline.spec.cache is not None:
        answer["parameters"] = {"cached": result.cached}
    if watch is not None:
        answer["outputs"] = ready_made(answer["outputs"])
        watch.mark("render")
        answer.setdefault("parameters", {})["explain"] = explained(result, watch)
    return Written(to_json(answer), raws)


def _output(one: Wanted, result: Result, pipeline: Pipeline, raws: list[Any]) -> dict[str, Any]:
    """The output *one* as it stands in the JSON; what belongs behind it is added to *raws*."""
    column = result.column(one.name)
    if not (one.binary or one.classes):
        return to_output(one.name, column, batched=pipeline.batched)
    if one.classes:
        classes = classified(one.name, column, one.classes, pipeline)
        if not one.binary:
            return json_tensor(classes)
        told, data = raw_tensor(classes)
    else:
        told, data = to_raw_output(one.name, column, batched=pipeline.batched)
    raws.append(data)
    return told
