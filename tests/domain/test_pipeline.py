"""Steps, one model, steps: what a model is called with, whatever batch axis it has, and what its rows become."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.pipelines import Held, Remote, double, pipeline

from headrace.domain.batch import Batch
from headrace.domain.errors import DeadlineExceeded, EngineError, InvalidConfig, InvalidInput, ModelFailure
from headrace.domain.fit import Plan
from headrace.domain.pipeline import Pipeline
from headrace.domain.spec import PipelineSpec
from headrace.domain.step import Context, step
from headrace.domain.tensors import TensorSpec


def run(made: Pipeline, batch: Batch, context: Context | None = None) -> Batch:
    async def in_place(function: Any, part: Batch, inner: Context) -> Batch:
        done: Batch = function(part, inner)
        return done

    return asyncio.run(made.run(batch, context or Context(), in_place))


def told(batch: Batch) -> list[Any]:
    return [type(one).__name__ if isinstance(one, EngineError) else float(one["y"]) for one in batch.outcomes()]


def fixed(size: int, predict: Any = double) -> Held:
    return Held(predict, takes={"x": TensorSpec("float32", (size,), "x")}, gives={"y": TensorSpec("float32", (size,))})


@given(st.integers(1, 9), st.integers(1, 30))
def test_a_model_with_a_fixed_batch_axis_always_gets_that_many_rows(size: int, rows: int) -> None:
    model = fixed(size)

    done = run(pipeline(model), Batch({"x": list(range(rows))}))

    assert told(done) == [2.0 * n for n in range(rows)]
    assert model.calls == [size] * -(-rows // size)


@pytest.mark.parametrize("returned", [3, 5, 8])
def test_a_fixed_batch_that_comes_back_with_other_rows_is_stopped(returned: int) -> None:
    model = fixed(4, lambda inputs: {"y": np.resize(np.asarray(inputs["x"]) * 2, returned)})

    assert told(run(pipeline(model), Batch({"x": list(range(8))}))) == ["ModelFailure"] * 8


def test_one_bad_row_fails_alone_in_a_fixed_batch_too() -> None:
    def refusing(inputs: Any) -> Any:
        if (np.asarray(inputs["x"]) == 5).any():
            raise ValueError("five")
        return double(inputs)

    done = run(pipeline(fixed(4, refusing)), Batch({"x": list(range(10))}))

    assert told(done) == ["ModelFailure" if n == 5 else 2.0 * n for n in range(10)]


def test_a_model_without_a_batch_axis_gets_whole_tensors_one_by_one() -> None:
    seen = []

    def one(inputs: Mapping[str, Any]) -> Any:
        seen.append((type(inputs["x"]), inputs["x"].shape, inputs["x"].dtype.name))
        if inputs["x"][0] < 0:
            raise ValueError("negative")
        return {"y": inputs["x"].sum()}

    model = Held(one, takes={"x": TensorSpec("float32", (2,), "x")}, gives={"y": TensorSpec("float32", ())})

    done = run(pipeline(model, batching=False), Batch({"x": [[1, 2], [-1, 0], [3, 4]]}))

    assert told(done) == [3.0, "ModelFailure", 7.0]
    assert set(seen) == {(np.ndarray, (2,), "float32")}


def test_any_number_of_values_that_do_not_fit_leave_alone_without_a_call() -> None:
    @step(per="row", writes=["x"])
    def undeclared(x: Any) -> Any:
        return x

    model = Held()

    done = run(pipeline(model, before=[undeclared]), Batch({"x": [n if n % 2 else "no" for n in range(64)]}))

    assert told(done) == [2.0 * n if n % 2 else "InvalidInput" for n in range(64)]
    assert model.calls == [32]


def test_a_value_that_does_not_fit_leaves_alone_before_a_remote_model() -> None:
    @step(per="row", writes=["x"])
    def undeclared(x: Any) -> Any:
        return x

    async def predict(inputs: Any, deadline: float | None) -> Any:
        return double(inputs)

    done = run(pipeline(Remote(predict), before=[undeclared]), Batch({"x": [1, "no", 3]}))

    assert told(done) == [2.0, "InvalidInput", 6.0]


def test_an_optional_input_that_is_not_there_has_its_default() -> None:
    takes = {"x": TensorSpec("float32", (-1,), "x"), "by": TensorSpec("float32", (-1,), "by", 3, True)}
    model = Held(lambda inputs: {"y": inputs["x"] * inputs["by"]}, takes=takes)

    assert told(run(pipeline(model), Batch({"x": [1, 2]}))) == [3.0, 6.0]


def test_a_row_that_left_in_one_step_is_seen_by_no_later_one() -> None:
    seen: list[Any] = []

    @step(per="row", writes=["x"])
    def strict(x: Any) -> Any:
        if x == 2:
            raise InvalidInput("two")
        return x

    @step(per="row", writes=["y"])
    def noted(y: Any) -> Any:
        seen.append(float(y))
        return y

    done = run(pipeline(Held(), before=[strict], after=[noted]), Batch({"x": [1, 2, 3]}))

    assert told(done) == [2.0, "InvalidInput", 6.0]
    assert seen == [2.0, 6.0]


def test_when_every_row_has_left_nothing_more_is_called() -> None:
    @step(per="row", writes=["x"])
    def refuse(x: Any) -> Any:
        raise InvalidInput("no")

    model = Held()

    assert told(run(pipeline(model, before=[refuse]), Batch({"x": [1, 2]}))) == ["InvalidInput"] * 2
    assert model.calls == []


def test_no_step_begins_after_the_deadline() -> None:
    model = Held()

    done = run(pipeline(model), Batch({"x": [1]}), Context(deadline=0.0))

    assert {type(error) for error in done.failures.values()} == {DeadlineExceeded}
    assert model.calls == []


def test_every_step_is_timed_under_its_phase() -> None:
    def before(x: Any) -> Any:
        return x

    async def after(y: Any) -> Any:
        return y

    context = Context()
    run(pipeline(Held(), before=[before], after=[after]), Batch({"x": [1]}), context)

    assert [timing[:2] for timing in context.timings] == [
        ("preprocess", "before"),
        ("infer", "model"),
        ("postprocess", "after"),
    ]


def test_neighbouring_synchronous_steps_make_one_trip() -> None:
    trips = []

    async def call(function: Any, part: Batch, inner: Context) -> Batch:
        trips.append(part.size)
        done: Batch = function(part, inner)
        return done

    def before(x: Any) -> Any:
        return x

    async def between(y: Any) -> Any:
        return y

    def after(y: Any) -> Any:
        return y

    made = pipeline(Held(), before=[before, before], after=[between, after, after])
    asyncio.run(made.run(Batch({"x": [1]}), Context(), call))

    assert len(trips) == 2
    assert not made.synchronous


def test_only_the_outputs_come_back() -> None:
    def after(y: Any) -> dict[str, Any]:
        return {"y": y}

    made = pipeline(Held(), after=[after], outputs=("y",))

    assert list(run(made, Batch({"x": [1]})).columns) == ["y"]


def test_a_plan_with_problems_makes_no_pipeline() -> None:
    from headrace.domain.fit import Misplaced
    from headrace.domain.parameters import Problem

    plan = Plan(problems=[Misplaced("model", 0, Problem("x", "it does not fit"))])

    with pytest.raises(InvalidConfig, match="it does not fit"):
        Pipeline(PipelineSpec("a", "m"), plan, Held(), model_name="m")


def test_a_model_that_raises_something_of_its_own_is_a_model_failure_that_says_what() -> None:
    done = run(pipeline(Held(lambda inputs: 1 / 0)), Batch({"x": [1]}))  # type: ignore[arg-type, return-value]

    assert isinstance(done.failures[0], ModelFailure)
    assert done.failures[0].message == "the model raised ZeroDivisionError: division by zero"
