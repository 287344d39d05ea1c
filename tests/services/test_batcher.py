"""Single requests into batches: who shares one, who waits, who never runs, and that nobody disturbs a neighbour."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.services.pipelines import DOUBLE, Held, Remote, batching, pipeline, request, turns, x

from headrace.domain.errors import DeadlineExceeded, EngineError, Internal, NotReady, Overloaded
from headrace.domain.tensors import TensorSpec
from headrace.services import batcher as batcher_module
from headrace.services.batcher import Batcher
from headrace.services.context import Inputs, RequestContext, Result
from headrace.services.engine import Engine


def batcher_of(engine: Engine) -> Batcher:
    return engine.registry.get(DOUBLE).batcher


def ask(engine: Engine, *values: Any, **context: Any) -> asyncio.Task[Result]:
    return asyncio.ensure_future(engine.infer(DOUBLE, x(*values), request(**context)))


async def busy(engine: Engine, model: Held) -> asyncio.Task[Result]:
    """A request that holds the model, so that those after it queue."""
    model.hold()
    first = ask(engine, 0)
    await model.entered()
    return first


def answer(result: Result) -> list[Any]:
    return np.asarray(result.column("y")).tolist()


async def test_requests_of_one_turn_of_the_loop_meet_in_one_batch(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))

    results = await asyncio.gather(*(ask(engine, n) for n in range(5)))

    assert [answer(result) for result in results] == [[0], [2], [4], [6], [8]]
    assert model.calls == [5]


async def test_batches_form_while_the_model_is_busy(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)

    others = [ask(engine, n) for n in range(1, 11)]
    await turns()
    model.release()
    results = await asyncio.gather(first, *others)

    assert model.calls == [1, 10]
    assert [answer(result) for result in results] == [[2 * n] for n in range(11)]


async def test_an_idle_server_adds_no_delay(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))

    asked = ask(engine, 1)
    await turns(2)

    assert batcher_of(engine).queued == 0
    assert batcher_of(engine).in_flight == 1
    model.release()
    assert answer(await asked) == [2]


async def test_a_lingering_batch_runs_as_soon_as_it_is_full(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_wait_ms=60_000, max_size=3)))

    first, second = ask(engine, 1), ask(engine, 2)
    await turns()
    assert model.calls == []
    results = await asyncio.gather(first, second, ask(engine, 3))

    assert model.calls == [3]
    assert [answer(result) for result in results] == [[2], [4], [6]]


async def test_the_rows_of_one_request_fill_a_lingering_batch_too(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_wait_ms=60_000, max_size=3)))

    await ask(engine, 1, 2, 3)

    assert model.calls == [3]


async def test_lingering_is_counted_from_the_oldest_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(batcher_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_wait_ms=10_000), timeout_s=1e9))

    first = ask(engine, 1)
    await turns()
    clock.now += 6
    second = ask(engine, 2, priority=1)
    await turns()
    waiting = list(model.calls)
    clock.now += 4.5
    third = ask(engine, 3)
    await asyncio.gather(first, second, third)

    assert waiting == []
    assert model.calls == [3]


async def test_a_lingering_request_alone_runs_when_its_time_is_over(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_wait_ms=5)))

    assert answer(await ask(engine, 1)) == [2]


async def test_neither_an_idle_nor_a_lingering_batcher_holds_a_place(engine: Engine) -> None:
    await engine.add(pipeline(Held(), batching=batching(max_wait_ms=60_000, max_size=2)))

    first = ask(engine, 1)
    await turns()
    lingering = engine.gate.taken
    await asyncio.gather(first, ask(engine, 2))
    await turns()

    assert lingering == 0
    assert engine.gate.taken == 0


async def test_a_full_queue_refuses_at_once(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_queue=2)))
    first = await busy(engine, model)
    queued = [ask(engine, 1), ask(engine, 2)]
    await turns()

    with pytest.raises(Overloaded):
        batcher_of(engine).submit(x(3), request())

    model.release()
    await asyncio.gather(first, *queued)


async def test_callers_that_left_make_room_in_a_full_queue(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_queue=2)))
    first = await busy(engine, model)
    queued = [ask(engine, 1), ask(engine, 2)]
    await turns()
    queued[0].cancel()
    await turns()

    late = ask(engine, 3)
    await turns()
    model.release()

    assert answer(await late) == [6]
    await asyncio.gather(first, queued[1])
    assert model.calls == [1, 2]


async def test_an_expired_request_never_runs(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)

    with pytest.raises(DeadlineExceeded):
        await ask(engine, 1, deadline=time.monotonic() + 0.01)
    with pytest.raises(DeadlineExceeded):
        await ask(engine, 2, deadline=time.monotonic() - 1)

    model.release()
    await first
    await batcher_of(engine).drained()
    assert model.calls == [1]
    assert batcher_of(engine).expired == 2


async def test_a_caller_is_told_in_time_though_the_thread_still_works(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))
    neighbour = ask(engine, 1)

    with pytest.raises(DeadlineExceeded):
        await ask(engine, 2, deadline=time.monotonic() + 0.01)

    assert engine.gate.taken == 1
    model.release()
    assert answer(await neighbour) == [2]


async def test_a_request_without_a_deadline_gets_that_of_its_pipeline(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model, timeout_s=0.5))  # the thread must be in the model by then, however busy it is here
    context = RequestContext()

    with pytest.raises(DeadlineExceeded):
        await engine.infer(DOUBLE, x(1), context)

    assert context.deadline is None, "the caller's context is the caller's"
    model.release()


async def test_a_cancelled_caller_in_the_queue_disturbs_nobody(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)
    staying, leaving, also_staying = (ask(engine, n) for n in (1, 2, 3))
    await turns()

    leaving.cancel()
    await turns()
    model.release()
    results = await asyncio.gather(first, staying, also_staying)

    assert [answer(result) for result in results] == [[0], [2], [6]]
    assert model.calls == [1, 2], "what nobody waits for does not run"


async def test_a_cancelled_caller_in_a_running_batch_disturbs_nobody(engine: Engine) -> None:
    model = Held().hold()
    await engine.add(pipeline(model))
    asked = [ask(engine, n) for n in range(4)]
    await model.entered()

    asked[1].cancel()
    await turns()
    model.release()
    results = await asyncio.gather(*asked, return_exceptions=True)

    assert isinstance(results[1], asyncio.CancelledError)
    assert [answer(r) for r in results if isinstance(r, Result)] == [[0], [4], [6]]
    assert answer(await ask(engine, 5)) == [10]


async def test_a_cancelled_an_expired_and_a_failing_caller_disturb_nobody(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)
    good = [ask(engine, n) for n in range(8)]
    cancelled, failing = ask(engine, 1), ask(engine, "no number")
    expired = ask(engine, 2, deadline=time.monotonic() + 0.01)
    await turns()

    cancelled.cancel()
    with pytest.raises(DeadlineExceeded):
        await expired
    model.release()

    assert [answer(result) for result in await asyncio.gather(*good)] == [[2 * n] for n in range(8)]
    error = (await failing).error()
    assert error is not None and error.code == "invalid_input"
    await first
    assert model.calls == [1, 8]


async def test_the_place_of_a_caller_that_left_is_free_only_when_the_thread_is_done(narrow: Engine) -> None:
    working, waiting = Held().hold(), Held()
    await narrow.add(pipeline(working))
    other = pipeline(waiting, name="other")
    await narrow.add(other)
    leaving = ask(narrow, 1)
    await working.entered()

    leaving.cancel()
    after = asyncio.ensure_future(narrow.infer(other.ref, x(2), request()))
    await turns(50)
    before_release = list(waiting.calls)
    working.release()

    assert answer(await after) == [4]
    assert before_release == []


async def test_requests_with_different_options_never_share_a_batch(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)
    asked = [ask(engine, 1, options={"mode": mode}) for mode in ("a", "b", "a")] + [ask(engine, 1)]
    await turns()

    model.release()
    await asyncio.gather(first, *asked)

    assert sorted(model.calls) == [1, 1, 1, 2]


ROWS = {"x": TensorSpec("float32", (-1, -1), "x")}


def sums(inputs: Any) -> Any:
    return {"y": np.asarray(inputs["x"]).sum(axis=1)}


async def test_rows_of_different_shapes_never_share_a_batch(engine: Engine) -> None:
    model = Held(sums, takes=ROWS)
    await engine.add(pipeline(model))
    model.hold()
    first = ask(engine, [0])
    await model.entered()
    values: list[Any] = [[1, 2], [1, 2, 3], [3, 4], [], [5]]
    asked = [ask(engine, value) for value in values]
    arrays = asyncio.ensure_future(engine.infer(DOUBLE, Inputs({"x": np.ones((2, 3), "int8")}, 2), request()))
    await turns()

    model.release()
    results = await asyncio.gather(*asked)

    assert [answer(result) for result in results] == [[3], [6], [7], [0], [5]]
    assert answer(await arrays) == [3, 3]
    assert sorted(model.calls) == [1, 1, 1, 1, 2, 2]
    await first


async def test_a_request_whose_own_rows_differ_in_shape_shares_with_nobody(engine: Engine) -> None:
    def wants_one_array(inputs: Any) -> Any:
        if isinstance(inputs["x"], list):
            raise ValueError("ragged")
        return sums(inputs)

    model = Held(wants_one_array, takes=ROWS)
    await engine.add(pipeline(model))
    model.hold()
    first = ask(engine, [0, 0])
    await model.entered()
    ragged = ask(engine, *[[1] * (n + 1) for n in range(16)])
    plain = ask(engine, [1])
    await turns()

    model.release()

    assert answer(await plain) == [1]
    await asyncio.gather(first, ragged)


async def test_the_highest_priority_goes_first_and_none_is_the_middle(engine: Engine) -> None:
    order: list[float] = []

    def noted(inputs: Any) -> Any:
        order.extend(np.asarray(inputs["x"]).tolist())
        return {"y": np.asarray(inputs["x"])}

    model = Held(noted)
    await engine.add(pipeline(model, batching=batching(max_size=1)))
    first = await busy(engine, model)
    asked = [ask(engine, n, priority=priority) for n, priority in ((1, 0), (2, 5), (3, 1), (4, 0))]
    await turns()

    model.release()
    await asyncio.gather(first, *asked)

    assert order == [0, 3, 2, 1, 4]


async def test_a_batch_holds_at_most_its_rows_and_never_splits_a_request(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, batching=batching(max_size=4)))
    first = await busy(engine, model)
    asked = [ask(engine, *range(rows)) for rows in (3, 2, 2, 5, 1)]
    await turns()

    model.release()
    results = await asyncio.gather(first, *asked)

    assert model.calls == [1, 3, 4, 5, 1]
    assert [answer(result) for result in results[1:]] == [[2 * n for n in range(rows)] for rows in (3, 2, 2, 5, 1)]


async def test_a_request_of_many_rows_does_not_run_on_the_loop(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    for _ in range(50):
        batcher_of(engine).placement.observe(1, 50e-6)
    model.hold()

    many = ask(engine, *range(10_000))
    await model.entered()
    model.release()

    assert len(answer(await many)) == 10_000


async def test_requests_that_fail_early_do_not_make_a_model_look_fast(engine: Engine) -> None:
    await engine.add(pipeline(Held()))

    for _ in range(20):
        assert (await ask(engine, "no number")).error() is not None

    assert not batcher_of(engine).placement.measured


async def test_whatever_a_model_raises_the_next_batch_works(engine: Engine) -> None:
    def failing(inputs: Any) -> Any:
        if np.asarray(inputs["x"])[0] < 0:
            raise SystemExit(3)
        return {"y": np.asarray(inputs["x"])}

    await engine.add(pipeline(Held(failing)))

    with pytest.raises(Internal):
        await ask(engine, -1)

    assert answer(await ask(engine, 1)) == [1]
    assert engine.gate.taken == 0


async def test_a_remote_model_that_leaks_a_cancellation_leaves_nobody_waiting(engine: Engine) -> None:
    async def leaking(inputs: Any, deadline: float | None) -> Any:
        raise asyncio.CancelledError

    await engine.add(pipeline(Remote(leaking)))

    with pytest.raises(EngineError):
        await ask(engine, 1)

    await turns()
    assert engine.gate.taken == 0
    assert batcher_of(engine).in_flight == 0


async def test_a_closed_batcher_answers_what_it_has_and_takes_no_more(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    batcher = batcher_of(engine)
    first = await busy(engine, model)
    queued = ask(engine, 1)
    await turns()

    batcher.close()
    with pytest.raises(NotReady):
        batcher.submit(x(2), request())
    model.release()
    await batcher.drained()

    assert answer(await first) == [0]
    assert answer(await queued) == [2]


async def test_abandoning_tells_everybody_who_waits(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    first = await busy(engine, model)
    queued = ask(engine, 1)
    await turns()

    cut = batcher_of(engine).abandon(NotReady("over"))

    assert cut == 2
    for asked in (first, queued):
        with pytest.raises(NotReady):
            await asked
    model.release()
    await batcher_of(engine).drained()


async def test_a_request_without_company_for_a_while_runs_at_once(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    for n in range(40):
        await engine.infer(DOUBLE, x(n), request())

    future = batcher_of(engine).submit(x(7), request())

    assert future.done()
    assert answer(await future) == [14]


async def test_company_is_met_again_after_a_time_alone(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model))
    for n in range(40):
        await engine.infer(DOUBLE, x(n), request())

    results = await asyncio.gather(*(ask(engine, n) for n in range(8)))

    assert [answer(result) for result in results] == [[2 * n] for n in range(8)]
    assert model.calls[-2:] == [1, 7]


async def test_requests_that_come_turn_by_turn_share_a_batch_of_a_dear_call(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, placement="thread"))
    for rows in (1, 8, 64):  # a call takes a second, a row nearly nothing
        batcher_of(engine).placement.observe(rows, 1.0 + rows * 1e-6)

    asked = []
    for n in range(6):
        asked.append(ask(engine, n))
        await turns(1)
    await asyncio.gather(*asked)

    assert model.calls == [6]


async def test_the_next_batch_starts_while_the_loop_is_still_reading(engine: Engine) -> None:
    model = Held()
    await engine.add(pipeline(model, placement="thread"))
    first = await busy(engine, model)
    second = ask(engine, 1)
    await turns()
    batcher = batcher_of(engine)

    model.release()  # from here to the end the loop does not turn
    until = time.monotonic() + 5
    while not batcher._relay.over and time.monotonic() < until:
        time.sleep(0.001)
    third: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    batcher.queue(x(2), request(), third)
    assert model._entered.acquire(timeout=5)

    assert model.calls == [1, 1]
    assert [answer(result) for result in await asyncio.gather(first, second, third)] == [[0], [2], [4]]


async def test_a_request_need_not_wait_for_a_slice_of_bulk_work_that_leaves_an_instance_free() -> None:
    engine = Engine(places=2)
    await engine.add(pipeline(Held(concurrent=True), placement="thread"))
    batcher = batcher_of(engine)
    for rows in (1, 8, 32):  # so cheap that one batch of requests at a time is enough
        batcher.placement.observe(rows, 4e-4 + rows * 1e-5)
    assert batcher.together == 1

    await batcher.enter()
    try:
        result = await asyncio.wait_for(engine.infer(DOUBLE, x(1), request()), 5)
    finally:
        batcher.leave()
        await engine.close()

    assert answer(result) == [2]
