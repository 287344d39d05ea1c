"""Threads for synchronous code: order, errors, and nothing that a thread raises reaches the loop as its own."""

import asyncio
import threading
from typing import Any

import pytest

from headrace.services import executor as module
from headrace.services.executor import Executor


async def test_a_call_runs_in_a_thread_of_its_own() -> None:
    executor = Executor(2)

    name = await executor.call(lambda: threading.current_thread().name)

    assert name.startswith("headrace-batch")
    executor.close()


@pytest.mark.parametrize("raised", [SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(1)])
async def test_what_would_end_the_loop_arrives_as_an_ordinary_error(raised: BaseException) -> None:
    executor = Executor(2)

    def work() -> None:
        raise raised

    with pytest.raises(RuntimeError, match=type(raised).__name__):
        await executor.call(work)
    executor.close()


async def test_cancelling_the_wait_does_not_stop_the_thread() -> None:
    executor = Executor(1)
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(5)
        done.set()

    waiting = executor.call(work)
    waiting.cancel()
    go.set()

    assert await asyncio.to_thread(done.wait, 5)
    executor.close()


async def test_a_closed_executor_lets_late_work_run_in_new_threads() -> None:
    executor = Executor(1)
    held, go = threading.Event(), threading.Event()
    first = executor.call(lambda: (held.set(), go.wait(5)))
    assert await asyncio.to_thread(held.wait, 5)

    executor.close(0)
    late = await executor.call(lambda: "late")
    go.set()

    assert late == "late"
    await first
    executor.close()


def test_closing_what_was_never_used_does_nothing() -> None:
    executor = Executor(2)
    executor.close()

    async def scene() -> int:
        return await executor.call(lambda: 1)

    assert asyncio.run(scene()) == 1
    executor.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> Executor:
    """An executor that finds every row worth a trip to another thread."""
    monkeypatch.setattr(module, "SPREAD_AFTER_S", -1.0)
    return Executor(4)


def test_rows_come_back_in_order_from_several_threads(eager: Executor) -> None:
    meeting = threading.Barrier(4, timeout=5)
    threads: set[str] = set()

    def square(row: int) -> int:
        if 0 < row < 5:
            meeting.wait()  # passes only if four threads are here at the same time
        threads.add(threading.current_thread().name)
        return row * row

    assert eager.map(square, list(range(200))) == [row * row for row in range(200)]
    assert len(threads) == 4
    eager.close()


def test_an_error_of_one_row_is_raised_after_the_others_are_done(eager: Executor) -> None:
    seen: list[int] = []

    def work(row: int) -> int:
        seen.append(row)
        if row == 3:
            raise ValueError("three")
        return row

    with pytest.raises(ValueError, match="three"):
        eager.map(work, list(range(20)))

    assert sorted(seen) == list(range(20))
    eager.close()


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_few_rows_need_no_other_thread(eager: Executor, rows: int) -> None:
    assert eager.map(lambda row: row + 1, list(range(rows))) == [row + 1 for row in range(rows)]
    eager.close()


async def test_rows_spread_from_every_worker_at_once_do_not_wait_for_one_another(eager: Executor) -> None:
    def batch(start: int) -> Any:
        return eager.map(lambda row: row, list(range(start, start + 50)))

    results = await asyncio.gather(*(eager.call(batch, start) for start in range(12)))

    assert results == [list(range(start, start + 50)) for start in range(12)]
    eager.close()
