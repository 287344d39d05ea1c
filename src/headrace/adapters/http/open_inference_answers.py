"""What does a V2 answer look like: JSON alone, or JSON with raw tensors behind it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headrace.adapters.explaining import Stopwatch, explained
from headrace.adapters.http.call import JSON, Answered, Call
from headrace.adapters.http.open_inference_requests import Wanted
from headrace.adapters.http.open_inference_tensors import json_tensor, raw_tensor, to_output, to_raw_output
from headrace.adapters.http.rendering import ready_made, to_json
from headrace.adapters.open_inference.classification import classified
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Result

OCTETS: Final = b"application/octet-stream"
HEAD: Final = b"inference-header-content-length"


async def reply(
    call: Call, result: Result, pipeline: Pipeline, wanted: Sequence[Wanted], asked_id: str | None
) -> bytes | None:
    """Answer *call* with the *wanted* outputs. Raises the first row's error: a failed row fails the request.

    Returns what was written, if it says nothing that is true of this request alone.
    """
    body, media, extra = written(result, pipeline, wanted, asked_id, call.stopwatch)
    call.packs = True
    await call.answer(body, 200, media, extra)
    return None if media is OCTETS or call.stopwatch is not None else body


def written(
    result: Result,
    pipeline: Pipeline,
    wanted: Sequence[Wanted],
    asked_id: str | None,
    watch: Stopwatch | None = None,
) -> Answered:
    """The answer with the *wanted* outputs, in whatever form. Raises the first row's error."""
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
    head = to_json(answer)
    return (b"".join([head, *raws]), OCTETS, [(HEAD, b"%d" % len(head))]) if raws else (head, JSON, ())


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
