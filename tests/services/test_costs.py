"""Do the shares of a batch's rows come to what the batch cost?"""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.pipelines import DOUBLE, Columns, Held, pipeline, x

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput
from headrace.domain.step import Took
from headrace.domain.tensors import TensorSpec
from headrace.domain.tokens import tokens_per_row
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.costs import BatchCost, Prices
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.measures import Measures

seconds = st.floats(0, 1e4)
PHASES = ("preprocess", "infer", "postprocess")


@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.just("step"), seconds, st.just(0.0)), max_size=8),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 4096)), min_size=1, max_size=40),
    st.booleans(),
)
def test_the_rows_of_a_batch_cost_its_device_time_times_the_price(
    steps: list[Took],
    cpu: float,
    cuda: float,
    requests: list[tuple[int, int]],
    with_tokens: bool,
) -> None:
    sizes = [rows for rows, _ in requests]
    tokens = [count for rows, count in requests for _ in range(rows)] if with_tokens else None

    cost = Prices({"cpu": cpu, "cuda": cuda}, "EUR").batch(steps, sum(sizes), "cuda:1", tokens)
    shares, start = [], 0
    for rows in sizes:
        shares.append(cost.share(range(start, start + rows)))
        start += rows

    model = math.fsum(took for phase, _, took, _ in steps if phase == "infer")
    around = math.fsum(took for phase, _, took, _ in steps if phase != "infer")
    assert math.fsum(one.amount for one in shares) == pytest.approx(model * cuda + around * cpu, rel=1e-9)
    assert math.fsum(one.device_s for one in shares) == pytest.approx(model + around, rel=1e-9)
    assert all(one.amount >= 0 and one.currency == "EUR" for one in shares)
    if tokens is not None and sum(tokens):
        assert [one.tokens for one in shares] == [rows * count for rows, count in requests]


def test_rows_share_by_their_tokens_and_alike_without() -> None:
    steps = [("infer", "model", 2.0, 0.0)]
    prices = Prices({"cpu": 3.0}, "USD")

    alike, by_tokens = prices.batch(steps, 4, "cpu", None), prices.batch(steps, 4, "cpu", [1, 0, 3, 8])

    assert [alike.share(range(n, n + 1)).amount for n in range(4)] == [1.5, 1.5, 1.5, 1.5]
    assert [by_tokens.share(range(n, n + 1)).amount for n in range(4)] == [0.5, 0.0, 1.5, 4.0]
    assert prices.batch(steps, 2, "cpu", [0, 0]).share(range(1)).amount == 3.0


def test_a_device_has_its_own_price_that_of_its_kind_or_none() -> None:
    prices = Prices({"cuda": 2.0, "cuda:1": 5.0}, "USD")

    costs = [prices.batch([("infer", "model", 1.0, 0.0)], 1, device, None) for device in ("cuda:0", "cuda:1", "cpu")]

    assert [cost.amount for cost in costs] == [2.0, 5.0, 0.0]


def test_an_empty_batch_costs_nothing_to_nobody() -> None:
    assert BatchCost(0.0, "USD", 0.0, 0).share(range(0)).amount == 0.0


async def test_what_the_requests_of_a_run_cost_comes_to_what_is_counted() -> None:
    measures = Measures(Prices({"cpu": 0.5}, "USD"))
    engine = Engine(Executor(2), places=1, measures=measures)
    await engine.add(pipeline(Held()))

    results = await asyncio.gather(
        *(engine.infer(DOUBLE, x(*range(1, n % 4 + 2)), RequestContext()) for n in range(40))
    )
    await engine.run(DOUBLE, Batch({"x": list(range(5))}), RequestContext(mode="job"))
    await engine.close(5)

    spent = sum(seconds for batch in batches(results) for _, _, seconds, _ in batch.timing.steps)
    assert math.fsum(amount(one) for one in results) == pytest.approx(spent * 0.5, rel=1e-9)
    assert measures.costs[DOUBLE, "request"] == pytest.approx(spent * 0.5, rel=1e-9)
    assert measures.costs[DOUBLE, "job"] > 0


async def test_rows_that_failed_bear_their_share() -> None:
    def picky(inputs: Columns) -> Columns:
        if (np.asarray(inputs["x"]) < 0).any():
            raise InvalidInput("below zero")
        return {"y": np.asarray(inputs["x"])}

    engine = Engine(Executor(2), places=1, measures=Measures(Prices({"cpu": 1.0}, "USD")))
    await engine.add(pipeline(Held(picky)))

    results = await asyncio.gather(*(engine.infer(DOUBLE, x(n - 3), RequestContext()) for n in range(8)))
    await engine.close(5)

    assert sum(result.error() is not None for result in results) == 3
    for first in batches(results):
        own = [one for one in results if one.timing is first.timing]
        assert len({amount(one) for one in own}) == 1
        assert first.timing.cost is not None
        assert math.fsum(amount(one) for one in own) == pytest.approx(first.timing.cost.amount)


async def test_token_ids_weigh_rows_through_the_whole_engine() -> None:
    takes = {"input_ids": TensorSpec("int64", (-1, -1))}
    model = Held(lambda inputs: {"y": np.asarray([float(len(row)) for row in inputs["input_ids"]])}, takes=takes)
    engine = Engine(Executor(2), places=1, measures=Measures(Prices({"cpu": 1.0}, "USD")))
    await engine.add(pipeline(model))
    given = Inputs({"input_ids": [[1, 2, 3], [4, 5, 6]]}, 2)
    result = await engine.infer(DOUBLE, given, RequestContext())
    await engine.close(5)

    assert result.cost is not None and result.cost.tokens == 6


async def test_without_prices_nothing_has_a_cost() -> None:
    engine = Engine(Executor(2), places=1)
    await engine.add(pipeline(Held()))

    result = await engine.infer(DOUBLE, x(1), RequestContext())
    await engine.close(5)

    assert result.cost is None and engine.measures.costs == {}


def test_a_mask_says_which_ids_count_and_rows_that_left_count_nothing() -> None:
    ids = [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    mask = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    batch = Batch({"input_ids": ids, "attention_mask": mask})

    assert tokens_per_row(Batch({"input_ids": ids})) == [3, 3, 3]
    assert tokens_per_row(batch) == [3, 1, 2]
    assert tokens_per_row(batch.without({1: InvalidInput("no")})) == [3, 0, 2]
    assert tokens_per_row(Batch({"x": [1, 2]})) is None
    assert tokens_per_row(Batch({"input_ids": ids, "attention_mask": ["a", "b", "c"]})) is None


def batches(results: list[Result]) -> list[Result]:
    """One result of each batch."""
    return list({id(one.timing): one for one in results}.values())


def amount(result: Result) -> float:
    assert result.cost is not None
    return result.cost.amount
