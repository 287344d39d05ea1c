"""Failures, swaps and lanes: one answer for every row at every speed, whatever happens to the rows beside it."""

import asyncio
import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.pipelines import DOUBLE, Held, Remote, batching, double, pipeline, request, turns, x

from headrace.domain.batch import Batch, Outcome
from headrace.domain.errors import (
    Conflict,
    DependencyFailure,
    EngineError,
    InvalidInput,
    ModelFailure,
    NotFound,
    NotReady,
)
from headrace.domain.registry import PipelineRef
from headrace.domain.step import Context, step
from headrace.domain.tensors import TensorSpec
from headrace.services.context import Inputs, Result
from headrace.services.engine import Engine
from headrace.services.executor import Executor


def answers(result: Result | Batch) -> list[Any]:
    return [shown(outcome) for outcome in result.outcomes()]


def shown(outcome: Outcome) -> Any:
    return type(outcome).__name__ if isinstance(outcome, EngineError) else float(outcome["y"])


def refusing(*bad: float) -> Any:
    """A model that raises for any batch with one of *bad* in it."""

    def predict(inputs: Any) -> Any:
        if np.isin(inputs["x"], bad).any():
            raise ValueError("a value that I cannot take")
        return double(inputs)

    return predict


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 31, 32, 33, 100])
async def test_a_row_that_makes_the_model_raise_fails_alone_at_a_bounded_cost(engine: Engine, size: int) -> None:
    for position in {0, size // 2, size - 1}:
        model = Held(refusing(-1))
        ref = PipelineRef("p", f"{position}")
        await engine.add(pipeline(model, name="p", version=ref.version, batching=batching(max_size=size)))
        values = [float(n) for n in range(size)]
        values[position] = -1

        results = await asyncio.gather(*(engine.infer(ref, x(value), request()) for value in values))

        expected: list[Any] = [2 * value for value in values]
        expected[position] = "ModelFailure"
        assert [answers(result)[0] for result in results] == expected
        assert len(model.calls) <= 1 + 2 * math.log2(size) + 2


async def test_one_truncated_value_among_32_requests_is_one_clear_error(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    for bad in range(32):
        asked = [x("1." if n == bad else float(n)) for n in range(32)]
        results = await asyncio.gather(*(engine.infer(DOUBLE, inputs, request()) for inputs in asked))

        assert [answers(result)[0] for n, result in enumerate(results) if n != bad] == [
            2.0 * n for n in range(32) if n != bad
        ]
        assert isinstance(results[bad].error(), InvalidInput)


async def test_many_bad_rows_take_no_good_one_with_them_and_cost_a_call_for_each_row_or_so(engine: Engine) -> None:
    model = Held(refusing(*range(1, 64, 2)))
    await engine.add(pipeline(model, batching=batching(max_size=64)))

    result = await engine.infer(DOUBLE, x(*range(64)), request())

    assert len(model.calls) <= 2 * (1 + 2 * math.log2(64) + 2) + 64
    assert answers(result) == ["ModelFailure" if n % 2 else 2.0 * n for n in range(64)]


async def test_out_of_memory_halves_the_batch_until_it_fits(engine: Engine) -> None:
    def small(inputs: Any) -> Any:
        if len(inputs["x"]) > 3:
            raise MemoryError
        return double(inputs)

    model = Held(small)
    await engine.add(pipeline(model, batching=batching(max_size=64)))

    result = await engine.infer(DOUBLE, x(*range(64)), request())

    assert answers(result) == [2.0 * n for n in range(64)]


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_model_with_the_wrong_number_of_rows_shifts_nobodys_answer(engine: Engine, difference: int) -> None:
    def wrong(inputs: Any) -> Any:
        values = np.asarray(inputs["x"])
        return {"y": np.resize(values, len(values) + difference) if len(values) > 1 else values * 2}

    await engine.add(pipeline(Held(wrong)))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n), request()) for n in range(8)))

    for n, result in enumerate(results):
        assert answers(result)[0] in (2.0 * n, "ModelFailure")
    assert answers(await engine.infer(DOUBLE, x(9), request())) == [18.0]


@pytest.mark.parametrize("returned", [{}, {"z": [1]}, {"y": 3.0}, {"y": None}, None])
async def test_a_model_that_breaks_its_word_fails_its_batch_and_the_next_one_works(
    engine: Engine, returned: Any
) -> None:
    def predict(inputs: Any) -> Any:
        return returned if inputs["x"][0] < 0 else double(inputs)

    await engine.add(pipeline(Held(predict)))

    broken = await engine.infer(DOUBLE, x(-1), request())
    whole = await engine.infer(DOUBLE, x(1), request())

    assert isinstance(broken.error(), ModelFailure)
    assert answers(whole) == [2.0]


async def test_a_failed_dependency_is_not_asked_again_in_halves(engine: Engine) -> None:
    def away(inputs: Any) -> Any:
        raise DependencyFailure("the database is away")

    model = Held(away)
    await engine.add(pipeline(model))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n), request()) for n in range(8)))

    assert {type(result.error()) for result in results} == {DependencyFailure}
    assert model.calls == [8]


async def test_what_a_caller_sent_is_not_changed_by_a_step_that_writes_into_it(engine: Engine) -> None:
    def in_place(inputs: Any) -> Any:
        inputs["x"] *= 2
        return {"y": inputs["x"]}

    await engine.add(pipeline(Held(in_place)))
    sent = np.array([1, 2], "float32")
    frozen = np.array([3], "float32")
    frozen.setflags(write=False)

    result = await engine.infer(DOUBLE, Inputs({"x": sent}, 2), request())
    alone = await engine.infer(DOUBLE, Inputs({"x": frozen}, 1), request())

    assert answers(result) == [2.0, 4.0]
    assert answers(alone) == [6.0]
    assert sent.tolist() == [1, 2]


@pytest.mark.parametrize(
    "inputs", [Inputs({}, 1), Inputs({"x": [1], "z": [1]}, 1), Inputs({"x": [1, 2]}, 1), Inputs({"x": [1]}, 2)]
)
async def test_a_request_with_other_columns_or_rows_than_it_says_is_refused_alone(
    engine: Engine, inputs: Inputs
) -> None:
    await engine.add(pipeline(Held()))

    good, bad = await asyncio.gather(
        engine.infer(DOUBLE, x(1), request()), engine.infer(DOUBLE, inputs, request()), return_exceptions=True
    )

    assert isinstance(good, Result) and answers(good) == [2.0]
    assert isinstance(bad, InvalidInput)


# Every row to its own caller.

Value = st.one_of(
    st.integers(-5, 60), st.floats(-5, 60, width=32), st.sampled_from(["1", None, True, {}, [1], 1e300, -1, -2])
)
Request = st.one_of(
    st.lists(Value, min_size=1, max_size=6),
    st.lists(st.integers(0, 50), min_size=1, max_size=6).map(lambda values: np.array(values, "float32")),
    st.lists(st.integers(0, 50), min_size=1, max_size=6).map(lambda values: np.array(values, "int32")),
)


@step(per="row", writes=["x"])
def picky(x: Any) -> Any:
    """Refuses -1."""
    if x == -1:
        raise InvalidInput("minus one")
    return x


async def alone(engine: Engine, asked: list[Any]) -> list[list[Any]]:
    """What each row of each request gets when it is asked on its own."""
    found = []
    for values in asked:
        singles = [Inputs({"x": values[n : n + 1]}, 1) for n in range(len(values))]
        found.append([answers(await engine.infer(DOUBLE, one, request()))[0] for one in singles])
    return found


async def together(engine: Engine, asked: list[Any]) -> list[list[Any]]:
    inputs = [Inputs({"x": values}, len(values)) for values in asked]
    return [answers(r) for r in await asyncio.gather(*(engine.infer(DOUBLE, one, request()) for one in inputs))]


async def in_bulk(engine: Engine, asked: list[Any]) -> list[list[Any]]:
    return [
        answers(await engine.run(DOUBLE, Batch({"x": values}, len(values)), request(mode="job"))) for values in asked
    ]


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(Request, min_size=1, max_size=8), max_size=st.integers(1, 9), bad=st.sampled_from([-2.0, 7.0]))
def test_every_row_gets_the_same_answer_alone_in_any_company_and_in_bulk(
    asked: list[Any], max_size: int, bad: float
) -> None:
    async def scene() -> None:
        engine = Engine(EXECUTOR, places=2)
        # One bad value at most is found for sure; with more of them in a batch, innocents may fail with the rest.
        values = [value for one in asked for value in one]
        raising = refusing(bad) if sum(1 for value in values if value in (bad, int(bad))) <= 1 else double
        await engine.add(pipeline(Held(raising, concurrent=True), before=[picky], batching=batching(max_size=max_size)))

        single = await alone(engine, asked)

        assert await together(engine, asked) == single
        assert await in_bulk(engine, asked) == single

    asyncio.run(scene())


EXECUTOR = Executor(2)


def test_random_failures_under_random_load_reach_the_right_callers() -> None:
    async def scene(seed: int) -> None:
        chance = random.Random(seed)
        engine = Engine(EXECUTOR, places=2)

        @step(per="row", writes=["x"])
        def odd_ones_out(x: Any) -> Any:
            if int(x) % 7 == 3:
                raise InvalidInput(f"number {int(x)}")
            return x

        await engine.add(pipeline(Held(concurrent=True), before=[odd_ones_out], batching=batching(max_size=16)))

        async def caller(start: int) -> None:
            rows = chance.randint(1, 5)
            for _ in range(chance.randint(0, 5)):
                await asyncio.sleep(0)
            result = await engine.infer(DOUBLE, x(*range(start, start + rows)), request())
            for row, outcome in enumerate(result.outcomes()):
                number = start + row
                if number % 7 == 3:
                    assert isinstance(outcome, InvalidInput) and outcome.message == f"number {number}"
                else:
                    assert shown(outcome) == 2.0 * number

        await asyncio.gather(*(caller(10 * n) for n in range(200)))

    for seed in range(5):
        asyncio.run(scene(seed))


# The bulk lane.


async def test_real_time_waits_for_at_most_one_slice_of_bulk_work(narrow: Engine) -> None:
    log: list[str] = []
    bulk, quick = Held(log=log, name="bulk").hold(), Held(log=log, name="real time").hold()
    await narrow.add(pipeline(bulk))
    other = pipeline(quick, name="other")
    await narrow.add(other)
    job = asyncio.ensure_future(narrow.run(DOUBLE, Batch({"x": list(range(96))}), request(mode="job")))
    await bulk.entered()
    asked = asyncio.ensure_future(narrow.infer(other.ref, x(1), request()))
    await turns()

    bulk.let_one_pass()
    await quick.entered()
    quick.release()
    bulk.release()

    assert answers(await asked) == [2.0]
    assert answers(await job) == [2.0 * n for n in range(96)]
    assert log[:2] == ["bulk", "real time"]
    assert "bulk" in log[2:]


@pytest.mark.parametrize("fast", [False, True])
async def test_no_two_threads_are_inside_a_model_that_allows_one(engine: Engine, fast: bool) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))
    job = asyncio.ensure_future(engine.run(DOUBLE, Batch({"x": list(range(96))}), request(mode="job")))
    await model.entered()
    if fast:
        engine.registry.get(DOUBLE).batcher.placement.observe(1, 1e-6)

    asked = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(5)]
    more = asyncio.ensure_future(engine.run(DOUBLE, Batch({"x": [1]}), request(mode="job")))
    await turns(50)
    inside_while_held = model.most_inside
    model.release()

    assert [answers(result)[0] for result in await asyncio.gather(*asked)] == [2.0 * n for n in range(5)]
    assert len(answers(await job)) == 96
    assert answers(await more) == [2.0]
    assert (inside_while_held, model.most_inside) == (1, 1)
    assert engine.gate.taken == 0


async def test_several_instances_run_side_by_side(engine: Engine) -> None:
    model = Held(concurrent=True).hold()
    await engine.add(pipeline(model, batching=batching(max_size=1)))

    asked = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(3)]
    await model.entered()
    await model.entered()
    await turns()
    running = len(model.calls)
    model.release()
    await asyncio.gather(*asked)

    assert running == 2, "as many as there are places"


async def test_a_job_whose_caller_leaves_keeps_its_place_until_the_thread_is_done(narrow: Engine) -> None:
    model = Held().hold()
    await narrow.add(pipeline(model))
    job = asyncio.ensure_future(narrow.run(DOUBLE, Batch({"x": [1, 2]}), request(mode="job")))
    await model.entered()

    job.cancel()
    await turns()
    held = narrow.gate.taken
    model.release()

    assert answers(await narrow.infer(DOUBLE, x(4), request())) == [8.0]
    assert held == 1
    assert model.most_inside == 1


async def test_a_pinned_batch_size_holds_for_bulk_work_too(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_size=5)))

    done = await engine.run(DOUBLE, Batch({"x": list(range(12))}), request(mode="job"))

    assert answers(done) == [2.0 * n for n in range(12)]
    assert model.calls == [5, 5, 2]


async def test_a_job_keeps_the_failures_that_its_batch_came_with(engine: Engine) -> None:
    await engine.add(pipeline(Held(refusing(2))))
    batch = Batch({"x": [0, 1, 2, 3]}).without({1: InvalidInput("unreadable")})

    done = await engine.run(DOUBLE, batch, request(mode="job"))

    assert answers(done) == [0.0, "InvalidInput", "ModelFailure", 6.0]


async def test_a_job_of_no_rows_is_done_at_once(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    assert (await engine.run(DOUBLE, Batch({"x": []}, 0), request(mode="job"))).outcomes() == []


async def test_a_job_gets_the_default_of_an_optional_column(engine: Engine) -> None:
    takes = {"x": TensorSpec("float32", (-1,), "x"), "by": TensorSpec("float32", (-1,), "by", 10.0, optional=True)}
    model = Held(lambda inputs: {"y": inputs["x"] * inputs["by"]}, takes=takes)
    await engine.add(pipeline(model))

    done = await engine.run(DOUBLE, Batch({"x": [1, 2]}), request(mode="job"))

    assert answers(done) == [10.0, 20.0]
    with pytest.raises(InvalidInput, match="lacks 'x'"):
        await engine.run(DOUBLE, Batch({"by": [1, 2]}), request(mode="job"))


# What is loaded changes under load.


def times(factor: int) -> Any:
    return lambda inputs: {"y": np.asarray(inputs["x"]) * factor}


async def test_a_swap_under_load_loses_nobody_and_closes_the_old_model_once_after_its_last_batch(
    engine: Engine,
) -> None:
    old = Held(times(2)).hold()
    await engine.add(pipeline(old, batching=batching(max_size=4)))
    before = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(1, 20)]
    await old.entered()

    new = Held(times(3))
    await engine.swap(pipeline(new))
    after = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(1, 20)]
    fresh = await asyncio.gather(*after)
    closed_while_busy = old.closed
    old.release()
    stale = await asyncio.gather(*before)
    await turns(50)

    assert [answers(r)[0] for r in fresh] == [3.0 * n for n in range(1, 20)]
    assert [answers(r)[0] for r in stale] == [2.0 * n for n in range(1, 20)]
    assert closed_while_busy == 0
    await engine.close(5)
    assert (old.closed, new.closed) == (1, 1)
    assert not old.closed_while_inside


async def test_many_swaps_amid_requests_and_jobs_answer_every_request_by_one_of_them(engine: Engine) -> None:
    models = [Held(times(n)) for n in range(2, 12)]
    await engine.add(pipeline(models[0], batching=batching(max_size=3)))
    factors: set[float] = set()
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            result = await engine.infer(DOUBLE, x(1, 1), request())
            first, second = answers(result)
            assert first == second
            factors.add(first)
            await asyncio.sleep(0)

    async def job() -> None:
        while not done.is_set():
            assert len(set(answers(await engine.run(DOUBLE, Batch({"x": [1] * 40}), request())))) == 1

    clients = [asyncio.ensure_future(work()) for work in (client, client, client, job)]
    for model in models[1:]:
        await turns(20)
        await engine.swap(pipeline(model, batching=batching(max_size=3)), [Batch({"x": [1]})])
    done.set()
    await asyncio.gather(*clients)
    await engine.close(5)

    assert factors <= {float(n) for n in range(2, 12)}
    assert [model.closed for model in models] == [1] * 10
    assert not any(model.closed_while_inside for model in models)


async def test_what_is_queued_when_its_pipeline_is_removed_is_answered(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))
    first = asyncio.ensure_future(engine.infer(DOUBLE, x(1), request()))
    await model.entered()
    queued = asyncio.ensure_future(engine.infer(DOUBLE, x(2), request()))
    await turns()

    await engine.remove(DOUBLE)
    with pytest.raises(NotFound):
        await engine.infer(DOUBLE, x(3), request())
    model.release()

    assert answers(await first) == [2.0]
    assert answers(await queued) == [4.0]
    await engine.close(5)
    assert model.closed == 1


async def test_a_name_and_version_are_taken_once(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    with pytest.raises(Conflict):
        await engine.add(pipeline(Held()))


async def test_closing_finishes_what_was_accepted(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model, batching=batching(max_size=2)))
    asked = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(7)]
    await model.entered()

    closing = asyncio.ensure_future(engine.close(5))
    await turns()
    with pytest.raises(NotReady):
        await engine.infer(DOUBLE, x(1), request())
    model.release()

    assert await closing == 0
    assert [answers(result)[0] for result in await asyncio.gather(*asked)] == [2.0 * n for n in range(7)]
    assert model.closed == 1


async def test_closing_tells_those_who_could_not_be_answered_in_time(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))
    asked = [asyncio.ensure_future(engine.infer(DOUBLE, x(n), request())) for n in range(2)]
    await model.entered()
    asked.append(asyncio.ensure_future(engine.infer(DOUBLE, x(9), request())))
    await turns()

    closing = asyncio.ensure_future(engine.close(0))
    results = await asyncio.gather(*asked, return_exceptions=True)
    model.release()

    assert [type(result) for result in results] == [NotReady] * 3
    assert await closing == 3


# Pipelines of every kind.


async def test_a_model_without_a_batch_axis_sees_one_whole_tensor_at_a_time(engine: Engine) -> None:
    shapes = []

    def one(inputs: Mapping[str, Any]) -> Any:
        shapes.append(inputs["x"].shape)
        return {"y": inputs["x"].sum(axis=0)}

    model = Held(
        one,
        takes={"x": TensorSpec("float32", (2, -1), "x")},
        gives={"y": TensorSpec("float32", (-1,), "y")},
    )
    await engine.add(pipeline(model, batching=False))

    asked = [[[1, 2], [3, 4]], [[1], [2]], [[0, 0, 0], [5, 6, 7]]]
    results = await asyncio.gather(*(engine.infer(DOUBLE, x(tensor), request()) for tensor in asked))

    assert [result.column("y")[0].tolist() for result in results] == [[4, 6], [3], [5, 6, 7]]
    assert sorted(shapes) == [(2, 1), (2, 2), (2, 3)]
    whole = await engine.run(DOUBLE, Batch({"x": asked}), request())
    assert [row["y"].tolist() for row in whole.rows()] == [[4, 6], [3], [5, 6, 7]]


async def test_a_remote_model_is_awaited_with_its_deadline(engine: Engine) -> None:
    seen: list[float | None] = []

    async def predict(inputs: Any, deadline: float | None) -> Any:
        seen.append(deadline)
        await asyncio.sleep(0)
        return double(inputs)

    model = Remote(predict)
    await engine.add(pipeline(model))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n), request(deadline=1e12 + n)) for n in range(3)))

    assert [answers(result)[0] for result in results] == [0.0, 2.0, 4.0]
    assert (model.calls, seen) == ([3], [1e12 + 2])


async def test_a_remote_model_that_fails_is_asked_once_and_says_so_to_all(engine: Engine) -> None:
    async def predict(inputs: Any, deadline: float | None) -> Any:
        raise ConnectionError("refused")

    model = Remote(predict)
    await engine.add(pipeline(model))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n), request()) for n in range(4)))

    assert {type(result.error()) for result in results} == {ModelFailure}
    assert model.calls == [4]


async def test_a_value_that_does_not_fit_leaves_alone_before_a_remote_model(engine: Engine) -> None:
    async def predict(inputs: Any, deadline: float | None) -> Any:
        return double(inputs)

    await engine.add(pipeline(Remote(predict)))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(value), request()) for value in (1, "2", 3)))

    assert [answers(result)[0] for result in results] == [2.0, "InvalidInput", 6.0]


async def test_steps_that_wait_stand_among_those_that_do_not(engine: Engine) -> None:
    @step(writes=["x"])
    async def looked_up(x: Any, context: Context) -> Any:
        await asyncio.sleep(0)
        return np.asarray(x) + context.options["plus"]

    @step(per="row", writes=["y"])
    def halved(y: Any) -> Any:
        return y / 2

    await engine.add(pipeline(Held(), before=[looked_up], after=[halved]))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n), request(options={"plus": 10})) for n in range(3)))

    assert [answers(result)[0] for result in results] == [10.0, 11.0, 12.0]
