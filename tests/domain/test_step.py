"""How a plain function becomes a step, and that no step of any form gives a row another's value."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidConfig, InvalidInput, ModelFailure
from headrace.domain.step import Context, as_column, runner, step, step_type


async def run(
    function: Callable[..., Any],
    batch: Batch,
    *,
    params: Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    context: Context | None = None,
) -> Batch:
    bound = runner(step_type(function), "it", params or {}, columns or {})
    done: Any = bound(batch, context or Context())
    return await done if inspect.isawaitable(done) else done


def told(batch: Batch, name: str = "x") -> list[Any]:
    return [type(one).__name__ if isinstance(one, EngineError) else one[name] for one in batch.outcomes()]


def three() -> Batch:
    return Batch({"x": [1, 2, 3]})


async def test_an_unmarked_function_reads_the_columns_it_names_and_writes_the_first() -> None:
    def plus(x: list[int], *, by: int = 1) -> list[int]:
        return [value + by for value in x]

    kind = step_type(plus)

    assert (list(kind.reads), list(kind.writes)) == (["x"], ["x"])
    assert told(await run(plus, three(), params={"by": 10})) == [11, 12, 13]


async def test_a_step_of_rows_gives_each_its_own_and_drops_the_bad_alone() -> None:
    @step(per="row", writes=["half", "rest"])
    def divide(x: int) -> dict[str, int]:
        if x == 2:
            raise InvalidInput("two")
        return {"half": x // 2, "rest": x % 2}

    done = await run(divide, three())

    assert told(done, "rest") == [1, "InvalidInput", 1]
    assert told(done, "half") == [0, "InvalidInput", 1]


async def test_when_every_row_is_bad_each_keeps_its_own_error() -> None:
    @step(per="row", writes=["a", "b"])
    def refuse(x: int) -> dict[str, int]:
        raise InvalidInput(f"not {x}")

    done = await run(refuse, three())

    assert [error.message for error in done.failures.values()] == ["not 1", "not 2", "not 3"]


@pytest.mark.parametrize("bad", [{}, {"a": 1}, 5, None])
async def test_a_row_that_breaks_the_promise_fails_alone(bad: Any) -> None:
    @step(per="row", writes=["a", "b"])
    def mostly(x: int) -> Any:
        return bad if x == 1 else {"a": x, "b": -x}

    assert told(await run(mostly, three()), "b") == ["ModelFailure", -2, -3]


async def test_a_step_of_rows_may_wait_and_drops_the_bad_alone() -> None:
    @step(per="row", writes=["x"])
    async def looked_up(x: int) -> int:
        if x == 2:
            raise KeyError(x)
        return x * 10

    assert step_type(looked_up).waits
    assert told(await run(looked_up, three())) == [10, "ModelFailure", 30]


async def test_rows_are_spread_by_the_map_of_the_context_only_where_allowed() -> None:
    used = []

    def spread(function: Any, items: Any) -> list[Any]:
        used.append(len(items))
        return [function(item) for item in items]

    @step(per="row", writes=["x"], parallel=True)
    def parallel(x: int) -> int:
        return x

    @step(per="row", writes=["x"])
    def serial(x: int) -> int:
        return x

    for function in (parallel, serial):
        await run(function, three(), context=Context(map=spread))

    assert used == [3]


@pytest.mark.parametrize("returned", [[1, 2], [1, 2, 3, 4], 5, "abc", None, np.float32(1), np.array(1), {"x": [1]}, {}])
async def test_a_step_of_another_length_is_stopped(returned: Any) -> None:
    def wrong(x: Any) -> Any:
        return returned

    with pytest.raises(ModelFailure):
        await run(wrong, three())


async def test_a_step_that_promised_two_columns_returns_two() -> None:
    @step(writes=["a", "b"])
    def one(x: Any) -> Any:
        return {"a": x}

    with pytest.raises(ModelFailure, match="promised the columns a, b and did not return b"):
        await run(one, three())


whole = step(reads=["x"], writes=["x"])


@pytest.mark.parametrize("returned", [Batch({"x": [1]}), Batch({"x": [1, 2, 3, 4]}), [1, 2, 3], None, {"x": [1, 2, 3]}])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_step_of_whole_batches_that_returns_another_number_of_rows_is_stopped(
    returned: Any, waits: bool
) -> None:
    @whole
    def at_once(batch: Batch) -> Any:
        return returned

    @whole
    async def later(batch: Batch) -> Any:
        return returned

    with pytest.raises(ModelFailure):
        await run(later if waits else at_once, three())


async def test_a_step_of_whole_batches_cannot_lose_what_left_before_it() -> None:
    @whole
    def anew(batch: Batch) -> Batch:
        return Batch({"x": [value * 2 for value in batch.columns["x"]]})

    @whole
    def stricter(batch: Batch) -> Batch:
        return batch.without({0: InvalidInput("the first one that is left")})

    early = three().without({1: InvalidInput("early")})

    assert told(await run(anew, early)) == [2, "InvalidInput", 6]
    assert told(await run(stricter, early)) == ["InvalidInput", "InvalidInput", 3]


async def test_the_context_comes_after_the_columns_in_every_form() -> None:
    @step(writes=["x"])
    def columns(x: Any, context: Context) -> Any:
        return [value + context.options["by"] for value in x]

    @step(per="row", writes=["x"])
    def row(x: int, context: Context) -> int:
        return x + int(context.options["by"])

    @whole
    def batch_of(batch: Batch, context: Context) -> Batch:
        return batch.with_columns(x=[value + context.options["by"] for value in batch.columns["x"]])

    for function in (columns, row, batch_of):
        done = await run(function, three(), context=Context(options={"by": 5}))

        assert told(done) == [6, 7, 8]


def test_a_context_at_another_place_would_be_filled_with_a_column_and_is_refused() -> None:
    def confused(context: Context, x: Any) -> Any:
        return x

    with pytest.raises(InvalidConfig, match="must take `context` after its columns"):
        step_type(confused)


def test_a_step_of_whole_batches_must_say_its_columns() -> None:
    def unsaid(batch: Batch) -> Batch:
        return batch

    with pytest.raises(InvalidConfig, match="must state its columns"):
        step_type(unsaid)


async def test_declared_columns_stand_for_others_of_the_pipeline() -> None:
    @step(writes=["double"])
    def double(x: Any) -> Any:
        return [2 * value for value in x]

    done = await run(double, Batch({"price": [1, 2]}), columns={"x": "price", "double": "twice"})

    assert done.columns == {"price": [1, 2], "twice": [2, 4]}


def test_values_stack_only_when_they_are_arrays_of_one_type_and_shape() -> None:
    assert isinstance(as_column([np.float32(1), np.float32(2)]), np.ndarray)
    for rows in ([np.float32(1), np.float64(2)], [np.ones(1), np.ones(2)], [1, 2], [np.ones(1), [1]], []):
        assert isinstance(as_column(rows), list)
