"""Answers in chunks: from plain and from asynchronous generators, and what happens to those that nobody reads on."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from tests.services.pipelines import DOUBLE, Held, batching, pipeline, request, settled, turns, x

from headrace.domain.errors import DeadlineExceeded, InvalidInput, InvalidRequest, ModelFailure, NotReady, Overloaded
from headrace.domain.routing import Asked, Router
from headrace.domain.step import Context, step
from headrace.domain.tensors import TensorSpec
from headrace.services import engine as engine_module
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.inference import Inference, enough

Chunks = Callable[[Any], Any]


class Writer(Held):
    """Generates with a function of its inputs; its generator says when it has ended."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__(gives={"y": TensorSpec("string", (-1,), "y")})
        self.chunks = chunks
        self.ended = threading.Event()

    def generate(self, inputs: Any, deadline: float | None) -> Any:
        return self.chunks(inputs)


def counting(model: Writer | None = None, to: int = 3) -> Writer:
    def chunks(inputs: Any) -> Iterator[Any]:
        try:
            for n in range(to):
                yield {"y": [f"{inputs['x'][0]:.0f}.{n}"]}
        finally:
            made.ended.set()

    made = Writer(chunks)
    return made


def counting_asynchronously(to: int = 3) -> Writer:
    async def chunks(inputs: Any) -> AsyncIterator[Any]:
        try:
            for n in range(to):
                await asyncio.sleep(0)
                yield {"y": [f"{inputs['x'][0]:.0f}.{n}"]}
        finally:
            made.ended.set()

    made = Writer(chunks)
    return made


KINDS = pytest.mark.parametrize("make", [counting, counting_asynchronously])


async def read(engine: Engine, value: Any = 7, **context: Any) -> list[Any]:
    return [row["y"] async for row in engine.generate(DOUBLE, x(value), request(**context))]


@KINDS
async def test_an_answer_comes_in_chunks_each_through_the_postprocessing(
    engine: Engine, make: Callable[[], Writer]
) -> None:
    @step(per="row", writes=["x"])
    def one_more(x: Any) -> Any:
        return x + 1

    @step(per="row", writes=["y"])
    def loud(y: str) -> str:
        return y + "!"

    await engine.add(pipeline(make(), before=[one_more], after=[loud]))

    assert await read(engine) == ["8.0!", "8.1!", "8.2!"]


@KINDS
async def test_who_stops_reading_ends_the_generator_and_frees_everything(
    engine: Engine, make: Callable[..., Writer]
) -> None:
    model = make(to=10**9)
    await engine.add(pipeline(model))

    async with aclosing(engine.generate(DOUBLE, x(7), request())) as rows:
        assert (await anext(rows))["y"] == "7.0"
    await engine.remove(DOUBLE)

    assert await asyncio.to_thread(model.ended.wait, 5)
    await engine.close(5)
    assert model.closed == 1


@KINDS
async def test_a_reader_that_is_cancelled_ends_the_generator_too(engine: Engine, make: Callable[..., Writer]) -> None:
    model = make(to=10**9)
    await engine.add(pipeline(model))
    begun = asyncio.Event()

    async def read_for_ever() -> None:
        async for _ in engine.generate(DOUBLE, x(7), request()):
            begun.set()

    reader = asyncio.ensure_future(read_for_ever())
    await begun.wait()

    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert await asyncio.to_thread(model.ended.wait, 5)


async def test_a_model_is_not_closed_while_its_generator_is_in_a_thread(engine: Engine) -> None:
    inside, go = threading.Event(), threading.Event()
    closed_inside = []

    def chunks(inputs: Any) -> Iterator[Any]:
        yield {"y": ["first"]}
        inside.set()
        go.wait(5)
        closed_inside.append(model.closed)
        yield {"y": ["second"]}

    model = Writer(chunks)
    await engine.add(pipeline(model))
    reader = asyncio.ensure_future(read(engine))
    assert await asyncio.to_thread(inside.wait, 5)

    reader.cancel()
    await engine.remove(DOUBLE)
    await turns(50)
    go.set()
    await asyncio.gather(reader, return_exceptions=True)
    await engine.close(5)

    assert closed_inside == [0]
    assert model.closed == 1


async def test_a_deadline_is_kept_though_the_thread_is_in_the_model(engine: Engine) -> None:
    go = threading.Event()

    def chunks(inputs: Any) -> Iterator[Any]:
        go.wait(5)
        yield {"y": ["late"]}

    await engine.add(pipeline(Writer(chunks)))

    with pytest.raises(DeadlineExceeded):
        await read(engine, deadline=time.monotonic() + 0.02)
    go.set()


async def test_a_deadline_ends_an_asynchronous_generator(engine: Engine) -> None:
    async def chunks(inputs: Any) -> AsyncIterator[Any]:
        yield {"y": ["first"]}
        try:
            await asyncio.Event().wait()
        finally:
            model.ended.set()

    model = Writer(chunks)
    await engine.add(pipeline(model))

    with pytest.raises(DeadlineExceeded):
        await read(engine, deadline=time.monotonic() + 0.5)

    assert await asyncio.to_thread(model.ended.wait, 5)


def never(model: Writer) -> Chunks:
    def chunks(inputs: Any) -> Iterator[Any]:
        model.ended.wait(5)
        yield {"y": ["late"]}

    return chunks


def never_asynchronously(model: Writer) -> Chunks:
    async def chunks(inputs: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield {"y": ["late"]}

    return chunks


@pytest.mark.parametrize("make", [never, never_asynchronously])
async def test_a_timer_that_fires_a_moment_early_means_late_all_the_same(
    engine: Engine, make: Callable[[Writer], Chunks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "late", lambda _: False)
    model = counting()
    model.chunks = make(model)
    await engine.add(pipeline(model))

    with pytest.raises(DeadlineExceeded):
        await read(engine, deadline=time.monotonic() + 0.2)
    model.ended.set()


class Crowd:
    """Chunks that note how many threads were in their generators at the same time."""

    def __init__(self) -> None:
        self.most = self._inside = 0
        self._lock = threading.Lock()
        self.together = threading.Barrier(2)

    def chunks(self, inputs: Any) -> Iterator[Any]:
        for _ in range(3):
            self._count(1)
            with suppress(threading.BrokenBarrierError):
                self.together.wait(0.05)  # longer than a second thread needs that may enter
            self._count(-1)
            yield {"y": ["chunk"]}

    def _count(self, change: int) -> None:
        with self._lock:
            self._inside += change
            self.most = max(self.most, self._inside)


@pytest.mark.parametrize(("concurrent", "most"), [(False, 1), (True, 2)])
async def test_only_a_concurrent_model_is_entered_by_several_generations_at_once(concurrent: bool, most: int) -> None:
    engine, crowd = Engine(Executor(threads=4)), Crowd()
    model = Writer(crowd.chunks)
    model.concurrent = concurrent  # type: ignore[misc]
    await engine.add(pipeline(model))

    answers = await asyncio.gather(read(engine, 1), read(engine, 2))
    await engine.close(5)

    assert answers == [["chunk"] * 3] * 2
    assert crowd.most == most


async def test_who_gives_up_waiting_for_a_turn_leaves_the_line(engine: Engine) -> None:
    inside, go = threading.Event(), threading.Event()

    def chunks(inputs: Any) -> Iterator[Any]:
        inside.set()
        go.wait(5)
        yield {"y": [f"{inputs['x'][0]:.0f}"]}

    await engine.add(pipeline(Writer(chunks)))
    first = asyncio.ensure_future(read(engine, 1))
    assert await asyncio.to_thread(inside.wait, 5)

    with pytest.raises(DeadlineExceeded):
        await read(engine, 2, deadline=time.monotonic() + 0.02)
    third = asyncio.ensure_future(read(engine, 3))
    await turns()
    go.set()

    assert await asyncio.gather(first, third) == [["1"], ["3"]]


async def test_a_turn_lasts_as_long_as_its_thread_though_its_reader_has_left(engine: Engine) -> None:
    inside, go = threading.Event(), threading.Event()
    order = []

    def chunks(inputs: Any) -> Iterator[Any]:
        if inputs["x"][0] == 1:
            inside.set()
            go.wait(5)
        order.append(int(inputs["x"][0]))
        yield {"y": ["chunk"]}

    await engine.add(pipeline(Writer(chunks)))
    leaving = asyncio.ensure_future(read(engine, 1))
    assert await asyncio.to_thread(inside.wait, 5)
    leaving.cancel()
    staying = asyncio.ensure_future(read(engine, 2))
    await turns(50)

    go.set()
    await staying

    assert order == [1, 2]


async def test_a_call_that_no_thread_has_begun_is_taken_back_when_its_reader_leaves() -> None:
    engine, inside, go = Engine(Executor(threads=1)), threading.Event(), threading.Event()
    model = counting()
    await engine.add(pipeline(model))
    rows = engine.generate(DOUBLE, x(7), request())
    await anext(rows)
    blocking = engine.executor.call(lambda: (inside.set(), go.wait(5)))
    assert await asyncio.to_thread(inside.wait, 5)
    waiting = asyncio.ensure_future(read(engine, 8))
    await turns()

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await turns()
    generating = engine._generating
    go.set()
    await blocking
    await rows.aclose()
    await settled(engine)
    await engine.close(5)

    assert generating == 1


@pytest.mark.parametrize("chunk", [{}, {"y": []}, {"y": ["a", "b"]}, {"y": "a"}, None, {"z": ["a"]}])
async def test_a_chunk_that_is_not_what_was_promised_is_the_models_failure(engine: Engine, chunk: Any) -> None:
    await engine.add(pipeline(Writer(lambda inputs: iter([chunk]))))

    with pytest.raises(ModelFailure):
        await read(engine)


async def test_whatever_a_generator_raises_has_a_meaning(engine: Engine) -> None:
    def chunks(inputs: Any) -> Iterator[Any]:
        yield {"y": ["first"]}
        raise RuntimeError("the graphics card is on fire")

    await engine.add(pipeline(Writer(chunks)))

    with pytest.raises(ModelFailure, match="on fire"):
        await read(engine)


async def test_a_value_that_does_not_fit_never_reaches_the_generator(engine: Engine) -> None:
    model = counting()
    await engine.add(pipeline(model))

    with pytest.raises(InvalidInput):
        await read(engine, "seven")

    assert not model.ended.is_set()


async def test_one_answer_is_generated_for_one_row(engine: Engine) -> None:
    await engine.add(pipeline(counting()))

    with pytest.raises(InvalidInput, match="one row"):
        await anext(engine.generate(DOUBLE, x(1, 2), request()))


async def test_a_model_that_does_not_generate_says_so(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    with pytest.raises(InvalidRequest, match="does not generate"):
        await read(engine)


async def test_more_answers_than_allowed_are_refused_at_once_and_places_come_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "GENERATIONS", 2)
    await engine.add(pipeline(counting()))
    started = [engine.generate(DOUBLE, x(n), request()) for n in range(2)]
    for rows in started:
        await anext(rows)

    with pytest.raises(Overloaded):
        await read(engine)
    for rows in started:
        await rows.aclose()
    await settled(engine)

    assert len(await read(engine)) == 3


async def test_many_generations_at_once_each_get_their_own(engine: Engine) -> None:
    await engine.add(pipeline(counting(to=20), batching=batching(max_queue=1)))

    answers = await asyncio.gather(*(read(engine, n) for n in range(30)))

    assert answers == [[f"{n}.{m}" for m in range(20)] for n in range(30)]


async def test_the_use_case_closes_what_its_reader_leaves(engine: Engine) -> None:
    model = counting(to=10**9)
    await engine.add(pipeline(model))
    inference = Inference(engine, Router(engine.registry))
    context = request()

    async with aclosing(inference.generate(inference.choose(Asked("double")).pipeline, x(7), context)) as rows:
        await anext(rows)
        under_way = inference.in_flight, engine.registry.get(DOUBLE).in_flight

    assert await asyncio.to_thread(model.ended.wait, 5)
    await settled(engine)
    assert (*under_way, inference.in_flight, engine.registry.get(DOUBLE).in_flight) == (1, 1, 0, 0)
    assert context.deadline is None


async def generated(engine: Engine, model: Writer) -> tuple[Inference, Any]:
    """A use case, and an answer that it is asked for."""
    await engine.add(pipeline(model))
    inference = Inference(engine, Router(engine.registry))
    return inference, inference.generate(inference.choose(Asked("double")).pipeline, x(7), request())


def codes(inference: Inference) -> list[str]:
    return [code for _, _, _, code in inference.measures.requests]


@KINDS
async def test_an_answer_that_was_read_to_its_end_is_counted_as_good(
    engine: Engine, make: Callable[..., Writer]
) -> None:
    inference, rows = await generated(engine, make())

    async with aclosing(rows):
        assert len([row async for row in rows]) == 3
        await enough(rows)

    assert codes(inference) == ["ok"]


@KINDS
async def test_an_answer_of_which_its_reader_has_enough_is_counted_as_good(
    engine: Engine, make: Callable[..., Writer]
) -> None:
    model = make(to=10**9)
    inference, rows = await generated(engine, model)

    async with aclosing(rows):
        await anext(rows)
        await enough(rows)

    assert await asyncio.to_thread(model.ended.wait, 5)
    assert codes(inference) == ["ok"]


@KINDS
async def test_a_reader_that_leaves_between_two_chunks_is_counted_as_cancelled(
    engine: Engine, make: Callable[..., Writer]
) -> None:
    inference, rows = await generated(engine, make(to=10**9))

    async with aclosing(rows):
        await anext(rows)

    assert codes(inference) == ["cancelled"]


async def test_a_reader_that_leaves_while_it_waits_for_a_chunk_is_counted_as_cancelled(engine: Engine) -> None:
    model = counting()
    model.chunks = never(model)
    inference, rows = await generated(engine, model)
    reader = asyncio.ensure_future(anext(rows))
    await turns()

    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    model.ended.set()

    assert codes(inference) == ["cancelled"]


async def test_a_closing_engine_starts_no_new_slices_of_a_job(engine: Engine) -> None:
    from headrace.domain.batch import Batch

    model = Held().hold()
    await engine.add(pipeline(model, batching=batching(max_size=1)))
    job = asyncio.ensure_future(engine.run(DOUBLE, Batch({"x": [1, 2]}), request(mode="job")))
    await model.entered()

    closing = asyncio.ensure_future(engine.close(5))
    await turns()
    model.release()

    with pytest.raises(NotReady):
        await job
    await closing
    assert model.calls == [1]


async def test_a_generated_answer_is_measured_as_a_batch_of_one_row(engine: Engine) -> None:
    await engine.add(pipeline(counting()))

    async with aclosing(engine.generate(DOUBLE, x(1), request())) as rows:
        assert len([row async for row in rows]) == 3

    assert engine.measures.batches.sizes[DOUBLE, "request"].sum == 1
    assert engine.measures.batches.phases[DOUBLE, "request", "infer"].sum > 0
