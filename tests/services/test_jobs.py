"""A table through a pipeline: every row is answered or told about, in order, and nothing half done is left."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.services.pipelines import Columns, Held, pipeline

from headrace.domain.errors import Conflict, InvalidInput, InvalidRequest, NotFound
from headrace.domain.routing import Asked, Router
from headrace.domain.step import Context, step
from headrace.domain.tensors import TEXT, Column, TensorSpec
from headrace.infra.storage.datasets import LocalTables
from headrace.services.engine import Engine
from headrace.services.inference import Inference
from headrace.services.job_orders import Order, Progress
from headrace.services.jobs import Jobs

ASKED = Asked("double")
FORMATS = ["csv", "jsonl", "parquet", "csv.gz"]


def refusing(*bad: float) -> Callable[[Columns], Columns]:
    """Doubles; one bad value makes the whole batch raise, as a model does."""

    def predict(inputs: Columns) -> Columns:
        values = np.asarray(inputs["x"])
        if np.isin(values, bad).any():
            raise ValueError("there is a bad value in here")
        return {"y": values * 2}

    return predict


@pytest.fixture
def jobs(engine: Engine) -> Jobs:
    return Jobs(Inference(engine, Router(engine.registry)), LocalTables())


@pytest.fixture
async def doubling(engine: Engine) -> AsyncIterator[Held]:
    model = Held()
    await engine.add(pipeline(model))
    yield model
    model.release()


def save(path: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(columns), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return str(path)


def rows_in(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    return [json.loads(line) for line in path.read_text().splitlines()]


def failed_in(path: Path) -> dict[int, str]:
    return {row["row"]: row["code"] for row in rows_in(path)}


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
@pytest.mark.parametrize("given_in", ["csv", "jsonl", "parquet"])
async def test_any_format_is_answered_in_any_other(
    jobs: Jobs, doubling: Held, tmp_path: Path, given_in: str, to: str
) -> None:
    source = save(tmp_path / f"in.{given_in}", {"key": ["a", "b", "c"], "x": [1.5, 2.5, 3.5], "more": [1, 2, 3]})
    output = tmp_path / f"out.{to}"

    done = await jobs.run(Order(ASKED, source, str(output), keep={"key": "key"}, row_number=True))

    assert rows_in(output) == [
        {"row": 1, "key": "a", "y": 3.0},
        {"row": 2, "key": "b", "y": 5.0},
        {"row": 3, "key": "c", "y": 7.0},
    ]
    assert (done.rows, done.failed, done.read, done.errors) == (3, 0, 1.0, None)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"in.{given_in}", f"out.{to}"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.sampled_from(["1", "2", "13", "7", "bad", "", "4.5"]), max_size=60),
    chunk_rows=st.integers(1, 20),
)
def test_every_row_is_answered_or_told_about_once_and_in_order(
    tmp_path: Path, values: list[str], chunk_rows: int
) -> None:
    source = save(tmp_path / "in.csv", {"key": range(len(values)), "x": values})
    output, errors = tmp_path / "out.jsonl", tmp_path / "failed.jsonl"

    async def scene() -> Progress:
        engine = Engine(places=2)
        await engine.add(pipeline(Held(refusing(13))))
        jobs = Jobs(Inference(engine, Router(engine.registry)), LocalTables())
        order = Order(ASKED, source, str(output), str(errors), keep={"key": "key"}, chunk_rows=chunk_rows)
        try:
            return await jobs.run(order)
        finally:
            await engine.close(1)

    done = asyncio.run(scene())

    refused = [n for n, value in enumerate(values) if value in ("13", "bad", "")]
    assert rows_in(output) == [
        {"key": str(n), "y": float(value) * 2} for n, value in enumerate(values) if n not in refused
    ]
    assert [row["row"] for row in rows_in(errors)] == [n + 1 for n in refused]
    assert [row["original"] for row in rows_in(errors)] == [{"key": str(n), "x": values[n]} for n in refused]
    assert (done.rows, done.failed) == (len(values), len(refused))


async def test_no_row_fails_because_of_its_neighbours(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    bad = list(range(0, 5000, 250))
    await engine.add(pipeline(Held(refusing(*bad))))
    source = save(tmp_path / "in.parquet", {"x": np.arange(5000, dtype=np.float32)})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.parquet"), row_number=True))

    assert list(failed_in(tmp_path / "out.parquet.errors.jsonl")) == [n + 1 for n in bad]
    assert [row["row"] for row in rows_in(tmp_path / "out.parquet")] == [n + 1 for n in range(5000) if n not in bad]


async def test_a_model_that_fails_on_everything_is_not_asked_for_every_row(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    model = Held(refusing(1))
    await engine.add(pipeline(model))
    source = save(tmp_path / "in.parquet", {"x": [1.0] * 3000})

    done = await jobs.run(Order(ASKED, source, str(tmp_path / "out.parquet")))

    assert done.failed == done.rows == 3000
    assert len(model.calls) < 3000
    assert rows_in(tmp_path / "out.parquet") == []


async def test_a_failed_row_stands_in_the_errors_with_all_that_is_needed_to_mend_it(
    engine: Engine, jobs: Jobs, tmp_path: Path
) -> None:
    await engine.add(pipeline(Held(refusing(13))))
    source = save(tmp_path / "in.csv", {"key": "abc", "x": [1, 13, "x"]})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.jsonl"), keep={"key": "key"}))

    assert rows_in(tmp_path / "out.jsonl.errors.jsonl") == [
        {
            "row": 2,
            "code": "model_failure",
            "message": "the model raised ValueError: there is a bad value in here",
            "original": {"key": "b", "x": "13"},
        },
        {
            "row": 3,
            "code": "invalid_input",
            "message": "column 'x' is 'x' where float32 is wanted",
            "original": {"key": "c", "x": "x"},
        },
    ]


async def test_errors_of_an_earlier_run_do_not_outlive_its_output(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    order = Order(ASKED, save(tmp_path / "in.csv", {"x": [1, "x"]}), str(tmp_path / "out.csv"))
    await jobs.run(order)
    before = (tmp_path / "out.csv.errors.jsonl").exists()
    save(tmp_path / "in.csv", {"x": [1, 2]})

    await jobs.run(order)

    assert before and not (tmp_path / "out.csv.errors.jsonl").exists()


async def test_errors_that_were_asked_for_are_there_even_when_there_are_none(
    jobs: Jobs, doubling: Held, tmp_path: Path
) -> None:
    source = save(tmp_path / "in.csv", {"x": [1]})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.csv"), str(tmp_path / "failed.csv")))

    assert (tmp_path / "failed.csv").read_text() == "row,code,message,original\n"


@pytest.mark.parametrize("ending", FORMATS)
async def test_an_empty_table_gives_an_empty_one(jobs: Jobs, doubling: Held, tmp_path: Path, ending: str) -> None:
    save(tmp_path / "in.csv", {"x": [], "key": []})

    done = await jobs.run(Order(ASKED, str(tmp_path / "in.csv"), str(tmp_path / f"out.{ending}"), keep={"key": "key"}))

    assert done.rows == 0
    assert (tmp_path / f"out.{ending}").exists()


async def test_inputs_may_have_other_names_and_kept_columns_too(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.jsonl", {"value": [1.0], "y": ["kept"]})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.jsonl"), given={"x": "value"}, keep={"truth": "y"}))

    assert rows_in(tmp_path / "out.jsonl") == [{"truth": "kept", "y": 2.0}]


async def test_everything_is_kept_but_what_an_output_is_named_after(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", {"key": ["a"], "x": [1], "y": [0]})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.jsonl"), keep={"*": "*"}))

    assert rows_in(tmp_path / "out.jsonl") == [{"key": "a", "x": "1", "y": 2.0}]


async def test_an_optional_input_without_a_column_has_its_default(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    takes = {
        "x": TensorSpec("float32", (-1,), "x"),
        "add": TensorSpec("float32", (-1,), "add", 10.0, True),
    }
    await engine.add(pipeline(Held(lambda given: {"y": np.asarray(given["x"]) + given["add"]}, takes=takes)))
    without = save(tmp_path / "without.parquet", {"x": [1.0, 2.0]})
    gaps = save(tmp_path / "gaps.csv", {"x": [1, 2], "add": [5, ""]})

    await jobs.run(Order(ASKED, without, str(tmp_path / "without.jsonl")))
    await jobs.run(Order(ASKED, gaps, str(tmp_path / "gaps.jsonl")))

    assert rows_in(tmp_path / "without.jsonl") == [{"y": 11.0}, {"y": 12.0}]
    assert rows_in(tmp_path / "gaps.jsonl") == [{"y": 6.0}, {"y": 12.0}]


async def test_a_model_without_a_batch_axis_is_asked_row_by_row(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    takes, gives = {"x": TensorSpec("float32", (-1,), "x")}, {"y": TensorSpec("float32", (-1,), "y")}
    model = Held(lambda given: {"y": np.asarray(given["x"]) * 2}, takes=takes, gives=gives)
    await engine.add(pipeline(model, batching=False))
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": pa.array([[1, 2], [3], []], pa.list_(pa.float32()))}), path)

    await jobs.run(Order(ASKED, str(path), str(tmp_path / "out.parquet")))

    assert rows_in(tmp_path / "out.parquet") == [{"y": [2, 4]}, {"y": [6]}, {"y": []}]


async def test_options_reach_the_steps(engine: Engine, jobs: Jobs, tmp_path: Path) -> None:
    @step(reads={"y": TensorSpec("float32", (-1,))}, writes={"note": TEXT})
    def noted(y: Column, context: Context) -> list[str]:
        return [str(context.options["note"])] * len(y)

    await engine.add(pipeline(Held(), after=[noted]))
    source = save(tmp_path / "in.csv", {"x": [1]})

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.jsonl"), options={"note": "hi"}))

    assert rows_in(tmp_path / "out.jsonl") == [{"y": 2.0, "note": "hi"}]


async def test_large_answers_come_in_small_runs(
    engine: Engine, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.services.job_sizes.LARGEST_ANSWER", 100_000)
    gives = {"y": TensorSpec("float32", (-1, 250), "y")}
    model = Held(lambda given: {"y": np.zeros((len(given["x"]), 250), np.float32)}, gives=gives)
    await engine.add(pipeline(model))
    source = save(tmp_path / "in.parquet", {"x": [0.0] * 5000})

    done = await jobs.run(Order(ASKED, source, str(tmp_path / "out.parquet")))

    assert done.rows == len(rows_in(tmp_path / "out.parquet")) == 5000
    assert max(model.calls[-10:]) <= 100


async def test_progress_is_told_as_it_goes(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.parquet", {"x": np.zeros(100, np.float32)})
    told: list[Progress] = []

    await jobs.run(Order(ASKED, source, str(tmp_path / "out.csv"), chunk_rows=10), told.append)

    assert [one.rows for one in told] == [*range(10, 101, 10), 100]
    assert [round(one.read, 1) for one in told[:-1]] == [n / 10 for n in range(1, 11)]
    assert {one.total for one in told} == {100}


# What cannot be done as a whole.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"given": {"z": "x"}}, "no input 'z'"),
        ({"given": {"x": "ex"}}, "no column 'ex'.*did you mean 'x'"),
        ({"keep": {"kye": "kye"}}, "no column 'kye'.*did you mean 'key'"),
        ({"keep": {"y": "key"}}, "'y' would name two columns"),
        ({"keep": {"row": "key"}, "row_number": True}, "'row' would name two columns"),
        ({"chunk_rows": 0}, "at least one row"),
        ({"output": "in.csv"}, "is the input"),
        ({"errors": "in.csv"}, "is the input"),
        ({"errors": "out.csv"}, "cannot hold the answers and the errors"),
        ({"output": "out.txt"}, "the end of a name tells the format"),
    ],
)
async def test_an_order_that_cannot_be_is_refused_and_leaves_nothing(
    jobs: Jobs, doubling: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("in.csv"), {"x": [1], "key": ["a"]})

    with pytest.raises(InvalidRequest, match=told):
        await jobs.run(Order(**{"asked": ASKED, "input": "in.csv", "output": "out.csv", **changes}))

    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]
    assert doubling.calls == []


async def test_other_separators_than_commas_are_guessed_at(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("key;x\na;1\n")

    with pytest.raises(InvalidRequest, match="separated by something other than commas"):
        await jobs.run(Order(ASKED, str(tmp_path / "in.csv"), str(tmp_path / "out.csv")))


async def test_an_unknown_pipeline_and_a_missing_table_are_told(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", {"x": [1]})

    with pytest.raises(NotFound, match="no pipeline"):
        await jobs.run(Order(Asked("dubble"), source, str(tmp_path / "out.csv")))
    with pytest.raises(NotFound, match="there is no file"):
        await jobs.run(Order(ASKED, str(tmp_path / "none.csv"), str(tmp_path / "out.csv")))


async def test_a_table_that_breaks_off_leaves_the_old_output_as_it_was(
    jobs: Jobs, doubling: Held, tmp_path: Path
) -> None:
    (tmp_path / "out.csv").write_text("before")
    (tmp_path / "in.csv").write_text("x\n" + "1\n" * 5000 + '"open')

    with pytest.raises(InvalidInput, match="never closed"):
        await jobs.run(Order(ASKED, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), chunk_rows=100))

    assert (tmp_path / "out.csv").read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.csv", "out.csv"]


async def test_two_runs_with_one_output_do_not_mix(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", {"x": [1]})
    doubling.hold()
    first = asyncio.ensure_future(jobs.run(Order(ASKED, source, str(tmp_path / "out.csv"))))
    await doubling.entered()

    with pytest.raises(Conflict, match="another run is writing"):
        await jobs.run(Order(ASKED, source, str(tmp_path / "out.csv")))

    doubling.release()
    assert (await first).rows == 1


async def test_a_cancelled_run_leaves_nothing(jobs: Jobs, doubling: Held, tmp_path: Path) -> None:
    source = save(tmp_path / "in.csv", {"x": range(1000)})
    doubling.hold()
    running = asyncio.ensure_future(jobs.run(Order(ASKED, source, str(tmp_path / "out.csv"), chunk_rows=10)))
    await doubling.entered()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]
