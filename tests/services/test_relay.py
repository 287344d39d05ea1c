"""A batch that waits behind a running one: it begins without the loop, and whoever left or came meanwhile counts."""

import asyncio
import time
from typing import Any

import pytest
from tests.services.pipelines import Held, batching, pipeline, request, turns, x
from tests.services.test_batcher import answer, ask, batcher_of, busy

from headrace.domain.errors import DeadlineExceeded, EngineError, Overloaded
from headrace.domain.registry import PipelineRef
from headrace.services.context import Result
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.gate import Gate

FULL = 3


async def loaded(engine: Engine, **declared: Any) -> Held:
    """A model whose batches are full, and so worth staging, with three rows."""
    model = Held()
    await engine.add(pipeline(model, placement="thread", batching=batching(max_size=FULL, **declared)))
    return model


async def staged(engine: Engine, model: Held) -> list[asyncio.Task[Result]]:
    """One request that the model holds, and a full batch behind it."""
    first = await busy(engine, model)
    asked = [first, *(ask(engine, n) for n in range(1, FULL + 1))]
    await turns()
    return asked


async def test_the_thread_goes_on_without_the_loop(engine: Engine) -> None:
    model = await loaded(engine)
    asked = await staged(engine, model)

    model.release()  # from here to the call the loop does not turn
    assert model._entered.acquire(timeout=5)

    assert model.calls == [1, FULL]
    assert [answer(result) for result in await asyncio.gather(*asked)] == [[0], [2], [4], [6]]


async def test_who_leaves_or_is_late_while_staged_is_not_in_the_batch(engine: Engine) -> None:
    model = await loaded(engine)
    first = await busy(engine, model)
    late = batcher_of(engine).submit(x(1), request(deadline=time.monotonic() + 0.05))
    leaves, stays = ask(engine, 2), ask(engine, 3)
    await turns()

    leaves.cancel()
    with pytest.raises(DeadlineExceeded):
        await late
    model.release()

    assert answer(await stays) == [6]
    assert model.calls == [1, 1]
    batcher = batcher_of(engine)
    await batcher.drained()
    assert (batcher.expired, batcher.departed) == (1, 1)
    await first


async def test_when_nobody_staged_wants_an_answer_the_model_is_not_called(engine: Engine) -> None:
    model = await loaded(engine)
    first, *others = await staged(engine, model)

    for one in others:
        one.cancel()
    await turns()
    model.release()
    await first
    await batcher_of(engine).drained()

    assert model.calls == [1]


async def test_who_comes_later_with_a_higher_priority_takes_a_staged_place(engine: Engine) -> None:
    model = await loaded(engine)
    asked = await staged(engine, model)

    urgent = ask(engine, 9, priority=1)
    await turns()
    model.release()
    done, _ = await asyncio.wait([*asked[1:], urgent], return_when=asyncio.FIRST_COMPLETED)

    assert urgent in done
    await asyncio.gather(*asked)
    assert model.calls == [1, FULL, 1]


async def test_the_staged_count_as_waiting(engine: Engine) -> None:
    model = await loaded(engine, max_queue=FULL + 1)
    asked = await staged(engine, model)

    asked.append(ask(engine, 4))
    await turns()
    with pytest.raises(Overloaded):
        await ask(engine, 5)
    asked[1].cancel()
    await turns()
    asked.append(ask(engine, 6))
    await turns()
    model.release()
    results = await asyncio.gather(*asked, return_exceptions=True)

    assert [answer(one) for one in results if isinstance(one, Result)] == [[0], [4], [6], [8], [12]]


async def test_a_place_that_another_model_waits_for_is_not_handed_on() -> None:
    engine = Engine(places=1)
    order: list[str] = []
    model, other = Held(log=order, name="double"), Held(log=order, name="other")
    await engine.add(pipeline(model, placement="thread", batching=batching(max_size=FULL)))
    await engine.add(pipeline(other, name="other", placement="thread"))
    asked = await staged(engine, model)

    foreign = asyncio.ensure_future(engine.infer(PipelineRef("other", "1"), x(1), request()))
    await turns()
    model.release()
    await asyncio.gather(*asked, foreign)
    await engine.close()

    assert order == ["double", "other", "double"]


async def test_work_that_waits_for_a_thread_is_not_kept_waiting() -> None:
    engine = Engine(Executor(1), places=1)
    order: list[str] = []
    model = Held(log=order, name="double")
    await engine.add(pipeline(model, placement="thread", batching=batching(max_size=FULL)))
    asked = await staged(engine, model)

    loading = engine.executor.call(order.append, "loading")
    model.release()
    await asyncio.gather(*asked, loading)
    await engine.close()

    assert order == ["double", "loading", "double"]


async def test_a_failing_batch_hands_on_too(engine: Engine) -> None:
    def fails_first(inputs: Any) -> Any:
        if len(model.calls) == 1:
            raise ValueError("broken")
        return {"y": inputs["x"] * 2}

    model = Held(fails_first)
    await engine.add(pipeline(model, placement="thread", batching=batching(max_size=FULL)))
    first, *others = await staged(engine, model)

    model.release()

    assert [answer(result) for result in await asyncio.gather(*others)] == [[2], [4], [6]]
    with pytest.raises(EngineError, match="broken"):
        (await first).column("y")
    assert model.calls == [1, FULL]


@pytest.mark.parametrize("place", ["entries.join_columns", "running.merged", "running.Timing"])
async def test_a_staged_batch_that_cannot_be_made_fails_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    model = await loaded(engine)
    first, *others = await staged(engine, model)

    with monkeypatch.context() as broken:
        broken.delattr(f"headrace.services.{place}")
        model.release()
        assert answer(await first) == [0]
        for one in others:
            with pytest.raises(EngineError):
                await one

    assert model.calls == [1]
    assert answer(await ask(engine, 4)) == [8]


def test_a_gate_says_whether_anybody_waits() -> None:
    gate = Gate(1)
    gate.ask("bulk", lambda: None)
    assert not gate.crowded
    gate.ask("bulk", lambda: None)
    assert gate.crowded
    gate.leave()
    assert not gate.crowded


class Considerate(Held):
    """Notes the rows of the calls that were asked to leave processors to others."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: list[int] = []

    def predict_beside(self, inputs: Any) -> Any:
        self.beside.append(len(inputs["x"]))
        return self.predict(inputs)


async def test_a_batch_that_follows_another_has_the_machine_to_itself(engine: Engine) -> None:
    model = Considerate()
    await engine.add(pipeline(model, placement="thread", batching=batching(max_size=FULL)))
    asked = await staged(engine, model)

    model.release()
    await asyncio.gather(*asked)

    assert (model.calls, model.beside) == ([1, FULL], [])


async def test_a_batch_that_begins_while_another_pipeline_runs_leaves_processors_to_it(engine: Engine) -> None:
    model, other = Considerate(), Held()
    await engine.add(pipeline(model, placement="thread"))
    await engine.add(pipeline(other, name="other", placement="thread"))
    other.hold()
    held = asyncio.ensure_future(engine.infer(PipelineRef("other", "1"), x(1), request()))
    await other.entered()

    await ask(engine, 1)
    other.release()
    await held
    await ask(engine, 2)

    assert (model.calls, model.beside) == ([1, 1], [1])
