"""Kept answers: a hit equals a miss, equal requests run once, and nobody gets another's answer or another's failure."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.kept import Kept
from tests.services.pipelines import DOUBLE, Held, double, pipeline, request, turns, x

from headrace.domain.errors import DeadlineExceeded, DependencyFailure, InvalidInput, NotReady, Overloaded
from headrace.domain.spec import CacheSpec
from headrace.domain.step import step
from headrace.domain.tensors import TensorSpec
from headrace.services.answers import Answers
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.row_keys import RowKeys

CACHED = CacheSpec(ttl_s=60)


class House:
    """One cached pipeline in an engine."""

    def __init__(self, engine: Engine, cache: Kept) -> None:
        self.engine, self.cache, self.answers = engine, cache, Answers(cache)

    async def ask(self, inputs: Inputs, context: RequestContext | None = None) -> Result:
        served = self.engine.registry.get(DOUBLE).pipeline
        context = context or request(deadline=time.monotonic() + 10)
        return await self.answers.infer(served, inputs, context, self.engine.infer)

    def start(self, inputs: Inputs, **context: Any) -> asyncio.Task[Result]:
        return asyncio.ensure_future(self.ask(inputs, request(**context)))


@pytest.fixture(params=[False, True], ids=["local", "remote"])
def house(engine: Engine, request: pytest.FixtureRequest) -> House:
    return House(engine, Kept(yields=request.param))


def values(result: Result) -> list[Any]:
    return [type(o).__name__ if isinstance(o, Exception) else float(o["y"]) for o in result.outcomes()]


async def test_a_hit_asks_no_model_and_says_so(house: House) -> None:
    model = Held()
    await house.engine.add(pipeline(model, cache=CACHED))

    miss = await house.ask(x(1, 2))
    hit = await house.ask(x(2, 1))

    assert (values(miss), miss.cached) == ([2.0, 4.0], False)
    assert (values(hit), hit.cached) == ([4.0, 2.0], True)
    assert model.calls == [2]
    await house.answers.close()  # a cache that takes its time is written behind the answer
    assert house.cache.ttls == [60, 60]


async def test_only_the_rows_that_are_not_kept_run_and_each_once(house: House) -> None:
    model = Held()
    await house.engine.add(pipeline(model, cache=CACHED))
    await house.ask(x(1, 2))

    mixed = await house.ask(x(3, 1, 4, 2, 3))

    assert values(mixed) == [6.0, 2.0, 8.0, 4.0, 6.0]
    assert model.calls == [2, 2]


async def test_a_hundred_equal_requests_at_once_are_one_model_call(house: House) -> None:
    model = Held().hold()
    await house.engine.add(pipeline(model, cache=CACHED))

    asked = [house.start(x(7)) for _ in range(100)]
    await model.entered()
    await turns()
    model.release()

    assert [values(result) for result in await asyncio.gather(*asked)] == [[14.0]] * 100
    assert model.calls == [1]


async def test_requests_that_arrive_while_an_answer_is_being_kept_do_not_run_again(house: House) -> None:
    model = Held()
    await house.engine.add(pipeline(model, cache=CACHED))
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            assert values(await house.ask(x(7))) == [14.0]
            await asyncio.sleep(0)

    clients = [asyncio.ensure_future(client()) for _ in range(5)]
    await turns(100)
    done.set()
    await asyncio.gather(*clients)

    assert model.calls == [1]


async def test_different_options_never_share_an_answer(house: House) -> None:
    @step(writes=["y"])
    def plus(y: Any, context: Any) -> Any:
        return np.asarray(y) + context.options.get("plus", 0)

    await house.engine.add(pipeline(Held(), after=[plus], cache=CACHED))

    asked = [house.start(x(1), options={"plus": n}) for n in (0, 1, 2)] + [house.start(x(1))]
    together = [values(result) for result in await asyncio.gather(*asked)]
    later = [values(await house.start(x(1), options={"plus": n})) for n in (0, 1, 2)]

    assert together == [[2.0], [3.0], [4.0], [2.0]]
    assert later == [[2.0], [3.0], [4.0]]


async def test_a_row_without_a_key_is_answered_and_not_kept(house: House) -> None:
    calls = []

    def count(inputs: Any) -> Any:
        calls.append(len(inputs["x"]))
        return {"y": [float(len(calls))] * len(inputs["x"])}

    await house.engine.add(pipeline(Held(count, takes={"x": TensorSpec("any", None, "x")}), cache=CACHED))

    results = [values(await house.ask(x(value))) for value in (object(), "a", object(), "a")]

    assert results == [[1.0], [2.0], [3.0], [2.0]]


async def test_a_row_that_failed_is_asked_again(house: House) -> None:
    failing = True

    def sometimes(inputs: Any) -> Any:
        if failing:
            raise InvalidInput("not now")
        return double(inputs)

    await house.engine.add(pipeline(Held(sometimes), cache=CACHED))

    first = await house.ask(x(1))
    failing = False
    second = await house.ask(x(1))

    assert (values(first), values(second)) == (["InvalidInput"], [2.0])


async def test_when_the_first_of_equal_requests_leaves_the_others_are_answered(house: House) -> None:
    model = Held().hold()
    await house.engine.add(pipeline(model, cache=CACHED))
    leader = house.start(x(7))
    await model.entered()
    followers = [house.start(x(7)) for _ in range(3)]
    await turns()

    leader.cancel()
    await turns()
    model.release()
    answered = await asyncio.gather(*followers)
    await turns()  # a cache that takes its time is written behind the answer
    later = await house.ask(x(7))

    assert [values(result) for result in answered] == [[14.0]] * 3
    assert sorted(result.cached for result in answered) == [False, True, True]  # one of them asked for all
    assert (values(later), later.cached) == ([14.0], True)
    assert model.calls == [1, 1]


async def test_each_that_leaves_is_followed_by_one_and_hits_and_misses_add_up(house: House) -> None:
    model = Held().hold()
    await house.engine.add(served := pipeline(model, cache=CACHED))
    waiting = [house.start(x(7, n)) for n in range(4)]
    await model.entered()
    await turns()

    waiting[0].cancel()
    await turns()
    model.release()
    answered = await asyncio.gather(*waiting[1:])

    lookups = house.answers._known[served].lookups
    assert [values(result) for result in answered] == [[14.0, 2.0 * n] for n in (1, 2, 3)]
    assert lookups.miss == 2 + 3 + 1  # the one that left; three rows of their own; the row that all have, once more
    assert lookups.hit == 2


async def test_a_failure_that_is_nobodys_time_is_shared(house: House) -> None:
    def away(inputs: Any) -> Any:
        raise DependencyFailure("the service is away")

    model = Held(away).hold()
    await house.engine.add(pipeline(model, cache=CACHED))
    requests = [house.start(x(7)) for _ in range(3)]
    await model.entered()
    await turns()

    model.release()

    assert [values(await one) for one in requests] == [["DependencyFailure"]] * 3
    assert model.calls == [1]


@pytest.mark.parametrize("error", [NotReady("not yet"), Overloaded("the queue is full")])
async def test_a_request_that_is_refused_is_refused_for_all_who_ask_the_same(house: House, error: Exception) -> None:
    await house.engine.add(served := pipeline(Held(), cache=CACHED))
    asked, refuse = 0, asyncio.Event()

    async def refusing(*_: Any) -> Result:
        nonlocal asked
        asked += 1
        await refuse.wait()
        raise error

    requests = [asyncio.ensure_future(house.answers.infer(served, x(7), request(), refusing)) for _ in range(1000)]
    await turns()
    refuse.set()
    told = await asyncio.gather(*requests, return_exceptions=True)

    assert [one if isinstance(one, Exception) else one.error() for one in told] == [error] * 1000
    assert asked == 1


async def test_one_after_the_other_leaves_and_the_next_asks_in_its_place(house: House) -> None:
    model = Held().hold()
    await house.engine.add(pipeline(model, cache=CACHED))
    waiting = [house.start(x(7)) for _ in range(100)]
    await turns()

    for leaving in waiting[:99]:
        leaving.cancel()
        await turns(2)
    model.release()

    assert values(await waiting[99]) == [14.0]
    assert len(model.calls) <= 2  # who leaves the queue never reached the model
    await house.answers.close()
    assert house.answers._under_way == {}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.sampled_from(["stays", "leaves", "is late"]),
                  st.integers(0, 3)),
        min_size=2, max_size=30),
    st.booleans(), st.randoms(),
)  # fmt: skip
def test_whoever_stays_is_answered_whoever_else_leaves(
    asked: list[tuple[list[int], str, int]], yields: bool, chance: Any
) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            engine = Engine(Executor(2), places=2)
            stack.push_async_callback(engine.close, 5)
            house = House(engine, Kept(yields=yields))
            await engine.add(pipeline(Held(), cache=CACHED))
            tasks = []
            for rows, how, pause in asked:
                tasks.append(house.start(x(*rows), deadline=time.monotonic() + (0 if how == "is late" else 10)))
                await turns(pause)
            leaving = [task for task, (_, how, _) in zip(tasks, asked, strict=True) if how == "leaves"]
            chance.shuffle(leaving)
            for task in leaving:
                task.cancel()
                await turns(chance.randint(0, 2))
            told = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
            for answer, (rows, how, _) in zip(told, asked, strict=True):
                if how == "stays":
                    assert isinstance(answer, Result) and values(answer) == [2.0 * n for n in rows]
            await turns()
            await asyncio.gather(*house.answers._writing)
            assert house.answers._under_way == {}

    asyncio.run(run())


async def test_the_deadline_of_one_is_not_the_deadline_of_those_who_ask_the_same(house: House) -> None:
    model = Held().hold()
    await house.engine.add(pipeline(model, cache=CACHED))
    leader = house.start(x(7), deadline=time.monotonic() + 0.4)
    await model.entered()
    patient = house.start(x(7), deadline=time.monotonic() + 10)
    hasty = house.start(x(7), deadline=time.monotonic() + 0.01)

    for late in (hasty, leader):
        with pytest.raises(DeadlineExceeded):
            await late
    model.release()

    assert values(await patient) == [14.0]


async def test_a_row_that_failed_for_its_time_is_not_passed_on(house: House) -> None:
    calls: list[int] = []

    def late_once(inputs: Any) -> Any:
        calls.append(len(inputs["x"]))
        if len(calls) == 1:
            raise DeadlineExceeded("its time, not yours")
        return double(inputs)

    model = Held(late_once).hold()
    await house.engine.add(pipeline(model, cache=CACHED))
    leader = house.start(x(7))
    await model.entered()
    follower = house.start(x(7))
    await turns()

    model.release()

    assert values(await leader) == ["DeadlineExceeded"]
    assert values(await follower) == [14.0]


async def test_a_bad_value_shares_its_failure_with_no_good_one(house: House) -> None:
    """1 is no boolean, though Python finds it equal to True."""
    model = Held(
        lambda inputs: {"y": np.asarray(inputs["x"], "float32")}, takes={"x": TensorSpec("bool", (-1,), "x")}
    ).hold()
    await house.engine.add(pipeline(model, cache=CACHED))

    bad, good = house.start(x(1)), house.start(x(True))
    model.release()

    assert (values(await bad), values(await good)) == (["InvalidInput"], [1.0])
    assert values(await house.ask(x(1))) == ["InvalidInput"]


async def test_what_a_new_model_answered_is_not_kept_for_the_old_one(house: House) -> None:
    old = pipeline(Held(), cache=CACHED, digest="old")
    await house.engine.add(old)

    async def swapped_meanwhile(ref: Any, inputs: Inputs, context: RequestContext) -> Result:
        await house.engine.swap(pipeline(Held(lambda i: {"y": np.asarray(i["x"]) * 3}), cache=CACHED, digest="new"))
        return await house.engine.infer(ref, inputs, context)

    result = await house.answers.infer(old, x(1), request(), swapped_meanwhile)

    assert values(result) == [3.0]
    assert house.cache.values == {}


async def test_a_fresh_answer_is_asked_for_and_given(house: House) -> None:
    model = Held()
    await house.engine.add(pipeline(model, cache=CACHED))
    await house.ask(x(1))

    result = await house.start(x(1), fresh=True)

    assert (values(result), result.cached) == ([2.0], False)
    assert model.calls == [1, 1]


class Far(Kept):
    """A cache that counts the keys it is asked for, and can be held."""

    def __init__(self) -> None:
        super().__init__(yields=True)
        self.asked: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def get(self, keys: Any) -> Any:
        self.asked.append(len(keys))
        await self.open.wait()
        return await super().get(keys)


async def test_of_equal_requests_at_once_one_looks_far_and_all_get_what_it_finds(engine: Engine) -> None:
    house, model = House(engine, far := Far()), Held()
    await engine.add(served := pipeline(model, cache=CACHED))
    (key,) = RowKeys(served).of(x(7), {})
    assert key is not None
    far.values[key] = {"y": np.array([14.0], "float32")}

    results = await asyncio.gather(*(house.start(x(7)) for _ in range(50)))

    assert [(values(result), result.cached) for result in results] == [([14.0], True)] * 50
    assert (far.asked, model.calls) == ([1], [])


async def test_many_rows_are_looked_up_far_in_one_call(engine: Engine) -> None:
    house = House(engine, far := Far())
    await engine.add(pipeline(Held(), cache=CACHED))

    result = await house.ask(x(*range(100)))

    assert values(result) == [2.0 * n for n in range(100)]
    assert far.asked == [100]


async def test_one_that_leaves_while_it_looks_far_holds_nobody_up(engine: Engine) -> None:
    house, model = House(engine, far := Far()), Held()
    await engine.add(pipeline(model, cache=CACHED))
    far.open.clear()
    leader = house.start(x(7))
    await turns()
    follower = house.start(x(7))
    await turns()

    leader.cancel()
    await turns()
    far.open.set()  # whoever comes in its place looks there too

    assert values(await follower) == [14.0]
    await house.answers.close()
    assert house.answers._under_way == {}


async def test_a_far_answer_with_other_columns_is_none_of_this_pipelines(engine: Engine) -> None:
    house, model = House(engine, far := Far()), Held()
    await engine.add(served := pipeline(model, cache=CACHED))
    (key,) = RowKeys(served).of(x(7), {})
    assert key is not None
    far.values[key] = {"z": [1.0]}

    assert values(await house.ask(x(7))) == [14.0]


async def test_nothing_is_under_way_once_all_are_answered(house: House) -> None:
    def sometimes(inputs: Any) -> Any:
        if 3 in np.asarray(inputs["x"]):
            raise InvalidInput("no threes")
        return double(inputs)

    await house.engine.add(pipeline(Held(sometimes), cache=CACHED))

    await asyncio.gather(*(house.start(x(n % 5, n % 3)) for n in range(60)))
    await house.answers.close()

    assert house.answers._under_way == {}
    assert house.answers._writing == set()
