"""What comes back: every row its own pick of the shared columns, or why it failed."""

import time
from typing import Any

import numpy as np
import pytest
from tests.services.pipelines import DOUBLE, Held, pipeline, request, x

from headrace.domain.errors import EngineError, InvalidInput
from headrace.domain.registry import PipelineRef
from headrace.services.context import RequestContext, Result, Timing
from headrace.services.engine import Engine

COLUMNS: dict[str, Any] = {"y": np.array([10, 11, 12, 13]), "z": ["a", "b", "c", "d"]}


def result(picks: Any) -> Result:
    return Result(PipelineRef("a", "1"), COLUMNS, picks, Timing())


def test_a_row_is_made_of_its_picks() -> None:
    error = InvalidInput("no")

    assert result(range(1, 3)).outcomes() == [{"y": 11, "z": "b"}, {"y": 12, "z": "c"}]
    assert result([3, error, 0]).outcomes() == [{"y": 13, "z": "d"}, error, {"y": 10, "z": "a"}]


def test_a_column_holds_this_requests_rows_alone() -> None:
    assert result(range(1, 3)).column("y").tolist() == [11, 12]  # type: ignore[union-attr]
    assert result([3, 0]).column("z") == ["d", "a"]
    with pytest.raises(InvalidInput, match="no"):
        result([3, InvalidInput("no")]).column("z")


def test_rows_that_never_ran_stand_among_the_others() -> None:
    first, last = InvalidInput("first"), InvalidInput("last")

    whole = result(range(1, 3)).with_failures({0: first, 3: last})

    assert [one if isinstance(one, EngineError) else one["z"] for one in whole.outcomes()] == [first, "b", "c", last]
    assert whole.error() is first
    assert result(range(2)).error() is None


def test_the_time_left_is_counted_to_the_deadline() -> None:
    assert RequestContext().remaining_s() is None
    assert RequestContext(deadline=time.monotonic() - 1).remaining_s() < 0  # type: ignore[operator]


async def test_a_request_of_no_rows_gets_an_empty_column(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    empty = await engine.infer(DOUBLE, x(), request())

    assert (empty.outcomes(), len(empty.column("y"))) == ([], 0)


async def test_a_batch_says_how_large_it_was_and_where_its_time_went(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    timed = await engine.infer(DOUBLE, x(1, 2, 3), request())

    assert timed.timing.batch_size == 3
    assert [step[:2] for step in timed.timing.steps] == [("preprocess", "inputs"), ("infer", "model")]
    assert timed.timing.run_s >= sum(seconds for _, _, seconds, _ in timed.timing.steps) > 0
    assert timed.queue_s >= 0
