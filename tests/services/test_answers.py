"""Kept answers: a hit equals a miss, equal requests run once, and nobody gets another's answer or another's failure."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.services.kept import Kept
from tests.services.pipelines import DOUBLE, Held, double, pipeline, request, turns, x

from headrace.domain.errors import DeadlineExceeded, InvalidInput
from headrace.domain.pipeline import Pipeline
from headrace.domain.spec import CacheSpec
from headrace.domain.step import step
from headrace.domain.tensors import TensorSpec
from headrace.services.answers import Answers, decode_row, encode_row, row_keys
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.engine import Engine
from headrace.services.executor import Executor

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
    assert house.cache.ttls == [60, 60]


async def test_only_the_rows_that_are_not_kept_run(house: House) -> None:
    model = Held()
    await house.engine.add(pipeline(model, cache=CACHED))
    await house.ask(x(1, 2))

    mixed = await house.ask(x(3, 1, 4, 2, 3))

    assert values(mixed) == [6.0, 2.0, 8.0, 4.0, 6.0]
    assert model.calls == [2, 3]


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


def test_pipelines_versions_and_digests_never_share_an_answer() -> None:
    def key(**different: Any) -> bytes | None:
        return row_keys(pipeline(Held(), **different), x(1), {})[0]

    keys = {key(), key(name="other"), key(version="2"), key(digest="new bytes")}

    assert len(keys) == 4
    assert None not in keys


def typed(dtype: str, *row: int) -> Pipeline:
    takes = {"x": TensorSpec(dtype, (-1, *row), "x")}
    return pipeline(Held(takes=takes))


def key_of(taken: Pipeline, value: Any) -> bytes | None:
    column = value if isinstance(value, np.ndarray) else [value]
    return row_keys(taken, Inputs({"x": column}, 1), {})[0]


def test_it_does_not_matter_how_a_number_was_written() -> None:
    taken = typed("float32", 2)

    keys = {key_of(taken, value) for value in ([1, 2], [1.0, 2.0], np.array([[1, 2]], "int8"))}

    assert len(keys) == 1
    assert key_of(taken, [0.1, 0]) == key_of(taken, np.array([[0.1, 0]], "float32"))


def test_different_values_have_different_keys_and_what_does_not_fit_has_none() -> None:
    assert key_of(typed("int64"), 2**53) != key_of(typed("int64"), 2**53 + 1)
    assert key_of(typed("string"), "1") != key_of(typed("string"), "2")
    assert key_of(typed("float32", -1), [1]) != key_of(typed("float32", -1), [1, 0])
    for dtype, value in (("int64", 2.5), ("bool", 1), ("float32", "1"), ("int64", 10**30)):
        assert key_of(typed(dtype), value) is None


def test_an_object_that_bytes_cannot_stand_for_has_no_key() -> None:
    class Picture:
        """Its text holds an address, which another picture may have later."""

    nested: Any = 1
    for _ in range(5000):
        nested = [nested]

    assert key_of(typed("any"), Picture()) is None
    assert key_of(typed("any"), nested) is None
    assert row_keys(typed("any"), x(1), {"strange": Picture()}) == [None]


async def test_a_row_without_a_key_is_answered_and_not_kept(house: House) -> None:
    calls = []

    def count(inputs: Any) -> Any:
        calls.append(len(inputs["x"]))
        return {"y": [float(len(calls))] * len(inputs["x"])}

    await house.engine.add(pipeline(Held(count, takes={"x": TensorSpec("any", None, "x")}), cache=CACHED))

    results = [values(await house.ask(x(value))) for value in (object(), "a", object(), "a")]

    assert results == [[1.0], [2.0], [3.0], [2.0]]


async def test_an_answer_that_cannot_be_encoded_is_simply_not_kept(house: House) -> None:
    def strange(inputs: Any) -> Any:
        return {"y": [object() for _ in inputs["x"]]}

    model = Held(strange)
    await house.engine.add(pipeline(model, cache=CACHED))

    results = [await house.ask(x(1)) for _ in range(2)]

    assert all(type(result.outcomes()[0]["y"]) is object for result in results)  # type: ignore[index]
    assert model.calls == [1, 1]


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

    assert [values(result) for result in await asyncio.gather(*followers)] == [[14.0]] * 3


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


async def test_what_another_version_kept_is_as_good_as_nothing(house: House) -> None:
    served = pipeline(Held(), cache=CACHED)
    await house.engine.add(served)
    key = row_keys(served, x(1), {})[0]
    assert key is not None

    for rubbish in (b"", b"\xc1", b"\x81\xa1y\xc7\x01\x01\x00"):
        house.cache.values[key] = rubbish

        assert values(await house.ask(x(1))) == [2.0]


# A hit is the same as a miss.

Cell = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
Dtype = st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint64", "bool", "<U3"])
Shape = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@st.composite
def outputs(draw: st.DrawFn) -> Any:
    """A column of two rows, as a model or a step may return it."""
    if draw(st.booleans()):
        return np.ones((2, *draw(Shape)), draw(Dtype))
    if draw(st.booleans()):
        return [np.ones(draw(Shape), draw(Dtype)) for _ in range(2)]
    values = st.recursive(Cell, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))
    return [draw(values), draw(values)]


def described(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        dtype = "text" if value.dtype.kind == "U" else value.dtype.str  # its width is that of the longest neighbour
        return dtype, value.shape, value.tolist()
    if isinstance(value, list):
        return [described(item) for item in value]
    return type(value).__name__, value


@settings(max_examples=100, deadline=None)
@given(outputs())
def test_a_hit_is_the_same_as_a_miss_in_every_type(column: Any) -> None:
    async def scene() -> None:
        engine = Engine(EXECUTOR)
        house = House(engine, Kept())
        model = Held(lambda inputs: {"y": column[: len(inputs["x"])]}, gives={"y": TensorSpec("any", None, "y")})
        await engine.add(pipeline(model, cache=CACHED))

        miss = await house.ask(x(1, 2))
        hit = await house.ask(x(1, 2))

        assert hit.cached or encode_row({"y": column[0]}) is None or encode_row({"y": column[1]}) is None
        assert [described(row["y"]) for row in hit.outcomes()] == [  # type: ignore[index]
            described(row["y"])  # type: ignore[index]
            for row in miss.outcomes()
        ]

    asyncio.run(scene())


EXECUTOR = Executor(2)


def test_a_kept_row_keeps_arrays_with_their_type_and_shape() -> None:
    row = {"a": np.zeros((0, 3), "float32"), "b": np.float64(0.1), "c": [np.int8(1)], "d": {"e": None}}

    stored = encode_row(row)
    assert stored is not None
    back = decode_row(stored)

    assert back["a"].shape == (0, 3) and back["a"].dtype == "float32"
    assert type(back["b"]) is np.float64
    assert type(back["c"][0]) is np.int8
    assert back["d"] == {"e": None}
