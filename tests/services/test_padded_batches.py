"""Requests of differing lengths in one call of a model, from the queue to their answers."""

import asyncio
from typing import Any

import numpy as np
import pytest
from tests.services.families import Families
from tests.services.pipelines import DOUBLE, Held, Remote, batching, pipeline, request, turns

from headrace.domain.batch import Batch
from headrace.domain.errors import DeadlineExceeded, InvalidConfig
from headrace.domain.step import step
from headrace.domain.steps.tokens import tokenize
from headrace.domain.tensors import TensorSpec
from headrace.services.context import Inputs, Result
from headrace.services.engine import Engine
from headrace.services.exposition import expose

IDS = {"input_ids": TensorSpec("int64", (-1, -1), "input_ids")}
DOUBLED = {"doubled": TensorSpec("int64", (-1, -1), "doubled")}
PAD = batching(pad={"input_ids": 0}, max_waste=0.5)


def doubled(inputs: Any) -> Any:
    assert isinstance(inputs["input_ids"], np.ndarray), "rows were not filled up"
    return {"doubled": inputs["input_ids"] * 2}


def ids(*rows: list[int]) -> Inputs:
    return Inputs({"input_ids": list(rows)}, len(rows))


async def ask(engine: Engine, *requests: Inputs) -> list[list[Any]]:
    results: list[Result] = await asyncio.gather(*(engine.infer(DOUBLE, one, request()) for one in requests))
    return [[row.tolist() for row in result.column("doubled")] for result in results]


async def test_requests_of_differing_lengths_meet_in_one_call_and_get_their_own_lengths_back(engine: Engine) -> None:
    model = Held(doubled, takes=IDS, gives=DOUBLED)
    await engine.add(pipeline(model, batching=PAD))

    answers = await ask(engine, ids([1, 2, 3]), ids([4, 5], [6]), ids([7, 8, 9, 10]))

    assert answers == [[[2, 4, 6]], [[8, 10], [12]], [[14, 16, 18, 20]]]
    assert model.calls == [4]


async def test_a_batch_of_bulk_work_is_filled_up_in_groups_of_like_length(engine: Engine) -> None:
    model = Held(doubled, takes=IDS, gives=DOUBLED)
    await engine.add(pipeline(model, batching=batching(pad={"input_ids": 0}, buckets=(4, 64))))
    rows = [[n] * length for n, length in enumerate((3, 60, 4, 50, 1))]

    done = await engine.run(DOUBLE, Batch({"input_ids": rows}), request())

    assert [row.tolist() for row in done.columns["doubled"]] == [[2 * n] * len(row) for n, row in enumerate(rows)]
    assert sorted(model.calls) == [2, 3]


async def test_a_remote_model_gets_filled_up_rows_too(engine: Engine) -> None:
    async def predict(inputs: Any, deadline: float | None) -> Any:
        return doubled(inputs)

    model = Remote(predict)
    model.get_input_spec = lambda: IDS  # type: ignore[method-assign]
    model.get_output_spec = lambda: DOUBLED  # type: ignore[method-assign]
    await engine.add(pipeline(model, batching=PAD))

    assert await ask(engine, ids([1, 2]), ids([3])) == [[[2, 4]], [[6]]]
    assert model.calls == [2]


async def test_a_model_exported_for_one_batch_size_gets_filled_up_rows_too(engine: Engine) -> None:
    model = Held(doubled, takes={"input_ids": TensorSpec("int64", (2, -1), "input_ids")}, gives=DOUBLED)
    await engine.add(pipeline(model, batching=batching(pad={"input_ids": 0}, max_waste=0.9)))

    assert await ask(engine, ids([1, 2]), ids([3]), ids([4, 5, 6])) == [[[2, 4]], [[6]], [[8, 10, 12]]]
    assert model.calls == [2, 2]


async def test_tokens_that_a_step_left_ragged_are_filled_up_before_the_model(engine: Engine) -> None:
    @step(reads={"text": TensorSpec("string", (-1,))}, writes=["input_ids"])
    def tokens(text: Any) -> Any:
        return tokenize(text, padding="none", outputs=("input_ids",))["input_ids"]

    model = Held(doubled, takes=IDS, gives=DOUBLED)
    await engine.add(pipeline(model, before=[tokens], batching=PAD))

    asked = [Inputs({"text": [text]}, 1) for text in ("AB", "ABC", "A")]

    assert await ask(engine, *asked) == [[[130, 132]], [[130, 132, 134]], [[130]]]
    assert model.calls == [3]


async def test_a_cancelled_an_expired_and_a_failing_caller_of_other_lengths_disturb_nobody(engine: Engine) -> None:
    def refusing(inputs: Any) -> Any:
        if (inputs["input_ids"] == 13).any():
            raise ValueError("thirteen")
        return doubled(inputs)

    model = Held(refusing, takes=IDS, gives=DOUBLED).hold()
    await engine.add(pipeline(model, batching=PAD))
    first = asyncio.ensure_future(ask(engine, ids([0])))
    await model.entered()
    good = asyncio.ensure_future(ask(engine, ids([1, 2]), ids([3]), ids([4, 5, 6])))
    cancelled = asyncio.ensure_future(ask(engine, ids([7])))
    expired = asyncio.ensure_future(engine.infer(DOUBLE, ids([8, 8]), request(deadline=0.0)))
    failing = asyncio.ensure_future(engine.infer(DOUBLE, ids([13, 13, 13]), request()))
    await turns()

    cancelled.cancel()
    await turns()
    model.release()

    assert await good == [[[2, 4]], [[6]], [[8, 10, 12]]]
    error = (await failing).error()
    assert error is not None and error.code == "model_failure"
    with pytest.raises(DeadlineExceeded):
        await expired
    assert await first == [[[0]]]


async def test_what_was_filled_in_is_shown(engine: Engine) -> None:
    await engine.add(pipeline(Held(doubled, takes=IDS, gives=DOUBLED), batching=PAD))
    await engine.add(pipeline(Held(), name="other"))
    shown = Families()
    expose(shown, engine, [])

    await ask(engine, ids([1, 2, 3]), ids([4]))

    assert shown.read("headrace_batch_cells") == {("double", "1", "real"): 4, ("double", "1", "padding"): 2}
    assert shown.read("headrace_padding_waste_ratio") == {("double", "1"): pytest.approx(1 / 3)}


def test_padding_of_a_column_that_the_loaded_model_does_not_have_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(InvalidConfig, match=r"batching\.pad\.inputs_ids: .*did you mean 'input_ids'"):
        pipeline(Held(doubled, takes=IDS, gives=DOUBLED), batching=batching(pad={"inputs_ids": 0}))
