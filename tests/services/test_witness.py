"""Which spans does a request leave, how do they hang together, and which lines does it write?"""

import asyncio
import itertools
import json
import random
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from tests.services.pipelines import DOUBLE, Columns, Held, Remote, pipeline, x
from tests.services.telemetry import Kept

from headrace.core.logging import LoggingSettings, configure, logger, request_id
from headrace.core.telemetry import TraceContext, begun, outgoing
from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput, InvalidRequest, NotFound, Overloaded
from headrace.domain.routing import Asked, Router
from headrace.services.context import RequestContext
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.inference import Inference
from headrace.services.witness import Lines, Witness

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CALLER[:-1] + "0"


async def served(kept: Kept | None, lines: Lines = "none", model: Any = None) -> Inference:
    engine = Engine(Executor(2), places=1, witness=Witness(kept, lines))
    await engine.add(pipeline(model or Held()))
    return Inference(engine, Router(engine.registry))


def request(traceparent: str | None = None, door: str = "http") -> RequestContext:
    headers: Mapping[str, str] = {} if traceparent is None else {"traceparent": traceparent}
    return RequestContext("r-1", door=door, headers=headers, traceparent=traceparent)


ASKED = Asked("double")


async def test_a_request_leaves_a_span_and_one_for_every_phase_below_it() -> None:
    kept = Kept()
    inference = await served(kept)

    await inference.infer(inference.choose(ASKED), x(1, 2), request(CALLER))
    await inference.engine.close(5)

    [whole], [batch] = kept.named("infer double"), kept.named("batch")
    phases = kept.named("queue", "preprocess", "infer", "postprocess")
    assert whole.sort.kind == "server" and whole.parent is not None
    assert (whole.parent.trace_id, whole.parent.span_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert [span.sort.name for span in phases] == ["queue", "preprocess", "infer"]
    assert all(span.parent == whole.own for span in phases)
    assert {span.own.trace_id for span in kept.spans} == {whole.parent.trace_id}
    assert whole.started_ns <= phases[0].started_ns <= phases[-1].ended_ns <= whole.ended_ns
    assert all(before.ended_ns <= after.started_ns for before, after in itertools.pairwise(phases))
    assert batch.parent == whole.own and batch.links == [whole.own] and whole.links == [batch.own]
    assert whole.sort.attributes["headrace.rows"] == batch.sort.attributes["headrace.batch_size"] == 2
    assert whole.attributes["headrace.request_id"] == "r-1" and whole.sort.error is None


async def test_the_span_of_a_batch_is_linked_to_all_its_requests_that_are_traced() -> None:
    kept, model = Kept(0.0), Held().hold()
    inference = await served(kept, model=model)

    first = asyncio.create_task(inference.infer(inference.choose(ASKED), x(1), request()))
    await model.entered()
    given = [CALLER, UNSAMPLED, CALLER.replace("0af7", "0af8")]
    others = [asyncio.create_task(inference.infer(inference.choose(ASKED), x(1), request(one))) for one in given]
    await asyncio.sleep(0)
    model.release()
    await asyncio.gather(first, *others)
    await inference.engine.close(5)

    requests, [batch] = kept.named("infer double"), kept.named("batch")
    assert len(requests) == 2 and len({span.own.trace_id for span in requests}) == 2
    assert list(batch.links) == [span.own for span in requests]
    assert batch.sort.attributes["headrace.batch_size"] == 3
    assert all(batch.own in span.links for span in requests)
    assert len(kept.named("queue")) == 2


async def test_what_is_not_sampled_leaves_nothing() -> None:
    kept = Kept(0.0)
    inference = await served(kept)

    await inference.infer(inference.choose(ASKED), x(1), request())
    await inference.infer(inference.choose(ASKED), x(1), request(UNSAMPLED))
    await inference.engine.close(5)

    assert kept.spans == []


async def test_a_failure_is_marked_and_is_ours_only_if_it_is() -> None:
    kept = Kept()

    def picky(inputs: Columns) -> Columns:
        raise InvalidInput("no") if inputs["x"][0] < 0 else ValueError("broken")

    inference = await served(kept, model=Held(picky))
    await inference.infer(inference.choose(ASKED), x(-1), request())
    await inference.infer(inference.choose(ASKED), x(1), request())
    await inference.engine.close(5)

    theirs, ours = kept.named("infer double")
    assert (theirs.sort.attributes["error.type"], theirs.sort.error) == ("invalid_input", None)
    assert (ours.sort.attributes["error.type"], ours.sort.error) == ("model_failure", "model_failure")


async def test_whoever_is_called_next_is_told_of_the_batch_and_only_when_it_is_traced() -> None:
    kept, seen = Kept(0.0), []

    async def remote(inputs: Columns, deadline: float | None) -> Columns:
        seen.append(outgoing())
        return {"y": [float(value) for value in inputs["x"]]}

    inference = await served(kept, model=Remote(remote))
    await inference.infer(inference.choose(ASKED), x(1), request(CALLER))
    await inference.infer(inference.choose(ASKED), x(1), request())
    await inference.engine.close(5)

    [batch] = kept.named("batch")
    assert seen == [{"traceparent": batch.own.traceparent}, {}]


async def test_a_slice_of_bulk_work_leaves_the_same_phases() -> None:
    kept = Kept()
    inference = await served(kept)
    trace = begun(1.0, None)

    await inference.engine.run(DOUBLE, Batch({"x": [1.0, 2.0]}), RequestContext(mode="job", trace=trace))
    await inference.engine.close(5)

    assert trace is not None
    assert [span.sort.name for span in kept.spans] == ["batch", "queue", "preprocess", "infer"]
    assert {span.parent for span in kept.spans} == {trace.own}


def test_a_window_belongs_to_the_first_event_that_is_traced_and_is_linked_to_all() -> None:
    kept = Kept(0.0)
    witness = Witness(kept)
    other = CALLER.replace("0af7", "0af8")

    trace = witness.window([{}, {"traceparent": UNSAMPLED}, {"traceparent": CALLER}, {"traceparent": other}])

    assert trace is not None and trace.parent is not None
    witness.windowed(trace, "visits", "visits.in", 4, 1, 0.0)
    [span] = kept.spans
    assert span.sort.kind == "consumer" and span.parent == trace.parent
    assert [link.trace_id for link in span.links] == [int(one[3:35], 16) for one in (CALLER, other)]
    assert span.attributes["messaging.batch.message_count"] == 4
    assert witness.window([{"traceparent": UNSAMPLED}]) is None
    assert witness.window([{}]) is None
    assert Witness(Kept(1.0)).window([{}]) is not None
    assert Witness(Kept(1.0)).window([{"traceparent": UNSAMPLED}]) is None


@pytest.mark.parametrize(("lines", "codes"), [("all", ["ok", "invalid_input", "not_found"]), ("none", [])])
async def test_a_line_tells_pipeline_version_code_milliseconds_and_ids(lines: Lines, codes: list[str]) -> None:
    written = StringIO()
    configure(LoggingSettings(format="json"), written)

    def picky(inputs: Columns) -> Columns:
        if inputs["x"][0] < 0:
            raise InvalidInput("below zero")
        return {"y": inputs["x"]}

    inference = await served(Kept(0.0), lines, Held(picky))
    await inference.infer(inference.choose(ASKED), x(1), request(CALLER))
    await inference.infer(inference.choose(ASKED), x(-1), request())
    inference.refused("library", NotFound("no pipeline"), "r-2")
    await inference.engine.close(5)
    configure(LoggingSettings())

    told = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [one["code"] for one in told] == codes
    for one in told[:2]:
        assert (one["event"], one["pipeline"], one["version"], one["request_id"]) == ("request", "double", "1", "r-1")
        assert one["ms"] > 0 and one["batch_size"] == 1
    if told:
        assert told[0]["trace_id"] == CALLER[3:35] and "trace_id" not in told[1]
        assert told[1]["error"] == "below zero" and told[1]["level"] == "warning"
        assert "there is" in told[2]["error"] or "no pipeline" in told[2]["error"]


async def test_lines_for_errors_leave_out_what_went_well() -> None:
    written = StringIO()
    configure(LoggingSettings(format="json"), written)
    inference = await served(None, "errors")

    await inference.infer(inference.choose(ASKED), x(1), request())
    inference.refused("http", InvalidRequest("no JSON"), "r-9")
    await inference.engine.close(5)
    configure(LoggingSettings())

    [told] = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (told["code"], told["request_id"], told["error"]) == ("invalid_request", "r-9", "no JSON")
    assert inference.measures.requests[None, "request", "http", "invalid_request"].counts[0] == 1


def test_the_share_that_is_traced_is_the_one_that_was_asked_for() -> None:
    random.seed(7)
    witness = Witness(Kept(0.1))
    asked = [request() for _ in range(5000)]

    for one in asked:
        witness.begin(one)

    places = [number for number, one in enumerate(asked) if one.trace is not None]
    assert 400 < len(places) < 600
    assert (
        len({after - before for before, after in itertools.pairwise(places)}) > 10
    )  # no beat that clients might share


def test_requests_of_callers_who_decide_leave_the_share_of_the_others_as_it_is() -> None:
    random.seed(7)
    witness = Witness(Kept(0.1))

    others = [request() for _ in range(1000)]
    for one in others:
        witness.begin(one)
        witness.begin(request(UNSAMPLED))
        witness.begin(request(CALLER))

    assert 60 < sum(one.trace is not None for one in others) < 140


def test_lines_name_the_trace_of_their_request_and_no_other_one() -> None:
    written = StringIO()
    configure(LoggingSettings(format="json"), written)
    witness = Witness(Kept(0.0), "all")
    token = request_id.set("r-1")

    witness.begin(request(CALLER))
    logger("test").info("of the first")
    request_id.set("r-2")  # on the same connection, whose context it is
    witness.begin(request())
    logger("test").info("of the second")
    logger("test").info("of the first", request_id="r-1")
    witness.end(RequestContext("r-3"), DOUBLE, "ok", 0.0)  # answered by a batch that another request brought about
    request_id.reset(token)
    configure(LoggingSettings())

    told = [json.loads(line).get("trace_id") for line in written.getvalue().splitlines()]
    assert told == [CALLER[3:35], None, CALLER[3:35], None]


async def test_what_is_current_in_one_batch_is_not_inherited_by_the_next() -> None:
    kept, seen = Kept(0.0), []
    first_may_end = asyncio.Event()

    async def remote(inputs: Columns, deadline: float | None) -> Columns:
        seen.append(outgoing())
        if len(seen) == 1:
            await first_may_end.wait()
        return {"y": [float(value) for value in inputs["x"]]}

    inference = await served(kept, model=Remote(remote))
    traced = asyncio.create_task(inference.infer(inference.choose(ASKED), x(1), request(CALLER)))
    while not seen:
        await asyncio.sleep(0)
    plain = asyncio.create_task(inference.infer(inference.choose(ASKED), x(1), request()))
    await asyncio.sleep(0)
    first_may_end.set()  # the batch that ends starts the next one
    await asyncio.gather(traced, plain)
    await inference.engine.close(5)

    assert [bool(headers) for headers in seen] == [True, False]


def test_a_line_tells_of_the_error_that_is_named_even_if_none_is_being_handled() -> None:
    written = StringIO()
    configure(LoggingSettings(format="json"), written)

    Witness(None, "errors").end(request(), DOUBLE, "overloaded", 0.0, error=Overloaded("too much"))
    configure(LoggingSettings())

    assert json.loads(written.getvalue())["error"] == "too much"


def test_places_of_one_trace_differ() -> None:
    place = TraceContext(1, 2)

    assert len({place.child().span_id for _ in range(100)}) == 100
