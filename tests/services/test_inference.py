"""The real-time use case: who answers, what is counted, and what a shadow may cost."""

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from tests.services.kept import Kept
from tests.services.pipelines import DOUBLE, Held, pipeline, request, turns, x

from headrace.domain.errors import AmbiguousVersion, InvalidInput, InvalidRequest, NotFound
from headrace.domain.routing import Asked, Router
from headrace.domain.spec import CacheSpec, RouteSpec
from headrace.services.answers import Answers
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.engine import Engine
from headrace.services.inference import Inference


def times(factor: int) -> Held:
    return Held(lambda inputs: {"y": np.asarray(inputs["x"]) * factor})


def house(engine: Engine, *routes: RouteSpec, **settings: Any) -> Inference:
    return Inference(engine, Router(engine.registry, routes), **settings)


async def ask(inference: Inference, name: str, inputs: Inputs, context: RequestContext | None = None) -> Result:
    return await inference.infer(inference.choose(Asked(name)), inputs, context or request())


def codes(inference: Inference) -> dict[tuple[str, str, str, str], int]:
    return {
        (str(ref), mode, door, code): sum(histogram.counts)
        for (ref, mode, door, code), histogram in inference.measures.requests.items()
    }


async def test_a_request_by_name_is_answered_by_the_only_version(engine: Engine) -> None:
    await engine.add(pipeline(times(2)))

    result = await ask(house(engine), "double", x(1))

    assert (str(result.ref), result.route, result.column("y").tolist()) == (  # type: ignore[union-attr]
        "double@1",
        "only version",
        [2],
    )


async def test_a_request_that_names_nothing_goes_to_the_default(engine: Engine) -> None:
    await engine.add(pipeline(times(2)))

    with pytest.raises(InvalidRequest, match=r"pipelines\.default"):
        house(engine).choose(Asked(""))
    result = await ask(house(engine, default="double"), "", x(1))

    assert result.ref.name == "double"


@pytest.mark.parametrize("name", ["double", ""])
async def test_a_request_on_a_split_is_answered_by_the_version_that_was_chosen_for_it(
    engine: Engine, name: str
) -> None:
    for version in ("1", "2"):
        await engine.add(pipeline(times(2), version=version))
    points = itertools.cycle((0.2, 0.7, 0.4))
    router = Router(engine.registry, [RouteSpec("double", split={"1": 1, "2": 1})], chance=lambda: next(points))
    inference = Inference(engine, router, default="double")
    chosen = [inference.choose(Asked(name)) for _ in range(6)]

    answered = [(await inference.infer(choice, x(1), request())).ref for choice in chosen]

    assert answered == [choice.pipeline.ref for choice in chosen]
    assert [ref.version for ref in answered] == ["1", "2", "1"] * 2


async def test_a_choice_that_was_kept_is_forgotten_when_told(engine: Engine) -> None:
    await engine.add(pipeline(times(2)))
    inference = house(engine)
    await ask(inference, "double", x(1))
    await engine.add(pipeline(times(3), version="2"))

    inference.forget_choices()

    with pytest.raises(AmbiguousVersion):
        await ask(inference, "double", x(1))


async def test_a_context_may_be_used_for_several_requests(engine: Engine) -> None:
    await engine.add(pipeline(times(2), cache=CacheSpec(), timeout_s=5))
    inference = house(engine, answers=Answers(Kept()))
    context = RequestContext()

    for _ in range(2):
        await ask(inference, "double", x(1), context)

    assert context.deadline is None


async def test_every_request_is_counted_under_how_it_ended(engine: Engine) -> None:
    model = times(2)
    await engine.add(pipeline(model))
    inference = house(engine)
    await ask(inference, "double", x(1), request(door="http"))
    await ask(inference, "double", x("1"), request(door="http"))
    inference.refused("http", NotFound("no pipeline"), "r-1")
    with pytest.raises(InvalidInput):
        await ask(inference, "double", Inputs({}, 1), request(door="http"))
    model.hold()
    for _ in range(100):
        engine.registry.get(DOUBLE).batcher.placement.observe(1, 1.0)
    leaving = asyncio.ensure_future(ask(inference, "double", x(1), request(door="http")))
    await turns()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    model.release()

    assert codes(inference) == {
        ("double@1", "request", "http", "ok"): 1,
        ("double@1", "request", "http", "invalid_input"): 2,
        ("None", "request", "http", "not_found"): 1,
        ("double@1", "request", "http", "cancelled"): 1,
    }
    assert inference.in_flight == 0


async def test_a_fault_of_ours_is_not_counted_as_an_answer(engine: Engine) -> None:
    await engine.add(pipeline(times(2)))
    inference = house(engine)

    with pytest.raises(TypeError):
        await ask(inference, "double", Inputs({"x": 3}, 1))  # type: ignore[dict-item]

    assert codes(inference) == {("double@1", "request", "library", "internal"): 1}


async def test_rows_that_could_not_be_read_stand_at_their_places(engine: Engine) -> None:
    await engine.add(pipeline(times(2)))
    unreadable = InvalidInput("no base64")

    result = await ask(house(engine), "double", Inputs({"x": [1, 2]}, 2, {1: unreadable}))

    assert [o if isinstance(o, Exception) else o["y"] for o in result.outcomes()] == [2, unreadable, 4]


async def test_a_shadow_gets_a_copy_and_its_answer_concerns_nobody(engine: Engine) -> None:
    shadow = Held(lambda inputs: 1 / 0)  # type: ignore[arg-type, return-value]
    await engine.add(pipeline(times(2)))
    await engine.add(pipeline(shadow, version="2"))
    inference = house(engine, RouteSpec("double", default="1", shadow="2"))

    result = await ask(inference, "double", x(1))
    await shadow.entered()

    assert result.column("y").tolist() == [2]  # type: ignore[union-attr]
    assert shadow.calls == [1]


async def test_a_slow_shadow_keeps_nobody_waiting_and_its_copies_are_bounded(engine: Engine) -> None:
    shadow = times(3).hold()
    await engine.add(pipeline(times(2)))
    await engine.add(pipeline(shadow, version="2"))
    inference = house(engine, RouteSpec("double", default="1", shadow="2"))

    for n in range(100):
        assert isinstance(await ask(inference, "double", x(n)), Result)
    await turns()
    waiting = sum(engine.registry.get(ref).batcher.in_flight for ref in engine.registry)
    shadow.release()

    assert 1 <= waiting <= 64


async def test_the_cache_stands_before_the_model_only_where_it_is_declared(engine: Engine) -> None:
    kept, plain = times(2), times(3)
    await engine.add(pipeline(kept, name="kept", cache=CacheSpec()))
    await engine.add(pipeline(plain, name="plain"))
    inference = house(engine, answers=Answers(Kept()))

    for name in ("kept", "kept", "plain", "plain"):
        await ask(inference, name, x(1))

    assert (kept.calls, plain.calls) == ([1], [1, 1])
