"""Hooks are told what happens, in order, and nothing that they do reaches a request."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace.domain.batch import Batch
from headrace.domain.errors import EngineError, InvalidInput, NotFound
from headrace.domain.registry import PipelineRef
from headrace.domain.routing import Asked, Router
from headrace.services.engine import Engine
from headrace.services.hooks import QUEUE, Hooks
from headrace.services.inference import Inference

from .pipelines import DOUBLE, Held, double, pipeline, request, x

Call = tuple[Any, ...]


class Diary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def on_startup(self) -> None:
        self.calls.append(("startup",))

    def on_pipeline_loaded(self, ref: PipelineRef) -> None:
        self.calls.append(("loaded", str(ref)))

    def before_batch(self, ref: PipelineRef, size: int) -> None:
        self.calls.append(("before", str(ref), size))

    def after_batch(self, ref: PipelineRef, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append(("after", str(ref), size))

    def on_error(self, ref: PipelineRef | None, error: EngineError) -> None:
        self.calls.append(("error", str(ref), error.code))

    def on_shutdown(self) -> None:
        self.calls.append(("shutdown",))


class AsyncDiary:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def before_batch(self, ref: PipelineRef, size: int) -> None:
        await asyncio.sleep(0)
        self.calls.append(("before", str(ref), size))

    async def on_shutdown(self) -> None:
        self.calls.append(("shutdown",))


class Broken:
    """Fails at everything, in every way."""

    def __init__(self) -> None:
        self.calls = 0

    def on_startup(self) -> None:
        raise SystemExit(3)

    async def on_pipeline_loaded(self, ref: PipelineRef) -> None:
        raise SystemExit(3)

    def before_batch(self, ref: PipelineRef, size: int) -> None:
        self.calls += 1
        raise ValueError("no")

    async def after_batch(self, ref: PipelineRef, size: int, seconds: float) -> None:
        raise asyncio.CancelledError

    def on_error(self) -> None:  # takes too little
        raise AssertionError

    async def on_shutdown(self) -> None:
        raise KeyboardInterrupt


def refusing(inputs: Any) -> Any:
    if 13.0 in inputs["x"]:
        raise InvalidInput("thirteen")
    return double(inputs)


class House:
    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.engine = Engine(hooks=hooks)
        self.inference = Inference(self.engine, Router(self.engine.registry))

    async def ask(self, *values: Any) -> Any:
        return (await self.inference.infer(self.inference.choose(Asked("double")), x(*values), request())).outcomes()


@asynccontextmanager
async def house_with(*listeners: object, **options: Any) -> AsyncIterator[House]:
    house = House(Hooks({f"hook{number}": one for number, one in enumerate(listeners)}, **options))
    await house.hooks.started()
    await house.engine.add(pipeline(Held(refusing)))
    yield house
    await house.engine.close()
    await house.hooks.stopped(5)


async def test_everything_is_told_in_order() -> None:
    diary = Diary()

    async with house_with(diary) as house:
        await house.ask(1.0, 2.0)

    assert diary.calls == [
        ("startup",),
        ("loaded", "double@1"),
        ("before", "double@1", 2),
        ("after", "double@1", 2),
        ("shutdown",),
    ]


async def test_a_failed_row_and_a_refused_request_are_told_as_errors() -> None:
    diary = Diary()

    async with house_with(diary) as house:
        await house.ask(1.0, 13.0)
        await house.ask("word")
        house.inference.refused("library", NotFound("no pipeline"), "r-1")

    errors = [call for call in diary.calls if call[0] == "error"]
    assert errors == [
        ("error", "double@1", "invalid_input"),
        ("error", "double@1", "invalid_input"),
        ("error", "None", "not_found"),
    ]


async def test_slices_of_bulk_work_are_told_too() -> None:
    diary = Diary()

    async with house_with(diary) as house:
        await house.engine.run(DOUBLE, Batch({"x": [1.0, 13.0, 3.0]}, 3), request(mode="job"))

    kinds = [call[0] for call in diary.calls]
    assert kinds.count("before") == kinds.count("after") >= 1
    assert ("error", "double@1", "invalid_input") in diary.calls


async def test_coroutines_are_awaited_on_the_loop() -> None:
    diary = AsyncDiary()

    async with house_with(diary) as house:
        await house.ask(1.0)

    assert diary.calls == [("before", "double@1", 1), ("shutdown",)]


async def test_a_hook_that_fails_in_every_way_fails_no_request_and_is_counted() -> None:
    broken, diary = Broken(), Diary()

    async with house_with(broken, diary) as house:
        answers = [await house.ask(float(number)) for number in range(3)]
        house.inference.refused("library", NotFound("no pipeline"), "r-1")
    hook = house.hooks.hooks[0]

    assert answers == [[{"y": 2.0 * number}] for number in range(3)]
    assert hook.failures == {
        "on_startup": 1,
        "on_pipeline_loaded": 1,
        "before_batch": 3,
        "after_batch": 3,
        "on_error": 1,
        "on_shutdown": 1,
    }
    assert len([call for call in diary.calls if call[0] == "after"]) == 3  # its neighbour noticed nothing


async def test_failures_are_logged_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    async with house_with(Broken()) as house:
        for number in range(10):
            await house.ask(float(number))

    lines = [
        record.message for record in caplog.records if record.__dict__["headrace_fields"]["told"] == "before_batch"
    ]
    assert lines == ["a hook failed"] * 4  # the 1st, 2nd, 4th and 8th


async def test_a_hook_that_hangs_holds_up_nobody() -> None:
    let_go = threading.Event()

    class Hanging:
        def before_batch(self, ref: PipelineRef, size: int) -> None:
            let_go.wait(10)

    async with house_with(Hanging(), limit_s=0.01) as house:
        answers = [await house.ask(1.0) for _ in range(3)]
        hook = house.hooks.hooks[0]
        async with asyncio.timeout(10):
            while hook.failures["before_batch"] < 3:
                await asyncio.sleep(0.002)
        let_go.set()

    assert answers == [[{"y": 2.0}]] * 3


async def test_a_hook_that_falls_behind_misses_events_and_memory_stays() -> None:
    let_go = asyncio.Event()

    class Slow:
        async def before_batch(self, ref: PipelineRef, size: int) -> None:
            await let_go.wait()

    async with house_with(Slow()) as house:
        for _ in range(QUEUE + 10):
            house.hooks.before_batch(DOUBLE, 1)
        missed = house.hooks.hooks[0].missed
        let_go.set()

    assert missed == 10


async def test_without_hooks_the_batch_runs_as_it_is() -> None:
    from headrace.services.batch_run import run_batch

    engine = Engine()

    assert engine.hooks is None
    assert engine._run_batch is run_batch
    await engine.close()
