"""A key is answered once: whose claim counts when somebody dies, takes long, or leaves?"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.domain.errors import Conflict, DeadlineExceeded, DependencyFailure, Internal
from headrace.domain.ports import Answered, Claimed, KeptAnswer
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers
from headrace.infra.databases.url import StateUrl
from headrace.services.idempotency import Idempotency

ANSWER = KeptAnswer(200, [("content-type", "text/plain")], b"done")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateAnswers]:
    state = State(StateUrl("sqlite:///state.db"), tmp_path)
    yield StateAnswers(state)
    await state.close()


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


async def done() -> KeptAnswer:
    return ANSWER


async def must_not_run() -> KeptAnswer:
    raise AssertionError("this was answered before")


async def test_work_that_takes_longer_than_its_claim_is_not_begun_again(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0, lease_s=0.8)
    began = asyncio.Event()

    async def slow() -> KeptAnswer:
        began.set()
        await asyncio.sleep(2.0)  # longer than the claim, which is renewed meanwhile
        return ANSWER

    first = asyncio.create_task(once.once("key", "print", soon(), slow))
    await began.wait()
    second = await once.once("key", "print", soon(), must_not_run)

    assert (await first, second) == ((ANSWER, False), (ANSWER, True))


async def test_a_claim_whose_owner_died_is_taken_over(store: StateAnswers) -> None:
    assert await store.claim("key", "print", "a process that died", 0.3) == Claimed()

    assert await Idempotency(store, 60.0).once("key", "print", soon(), done) == (ANSWER, False)


async def test_who_waits_takes_over_when_the_first_fails(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0)
    began, fail = asyncio.Event(), asyncio.Event()

    async def failing() -> KeptAnswer:
        began.set()
        await fail.wait()
        raise Internal("a fault")

    first = asyncio.create_task(once.once("key", "print", soon(), failing))
    await began.wait()
    second = asyncio.create_task(once.once("key", "print", soon(), done))
    await asyncio.sleep(0.05)
    fail.set()

    assert await second == (ANSWER, False)
    with pytest.raises(Internal):
        await first


async def test_who_leaves_while_waiting_leaves_at_once_and_the_answer_is_kept(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0)
    began, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> KeptAnswer:
        began.set()
        await finish.wait()
        return ANSWER

    first = asyncio.create_task(once.once("key", "print", soon(), slow))
    await began.wait()
    second = asyncio.create_task(once.once("key", "print", soon(), must_not_run))
    await asyncio.sleep(0.05)
    second.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait({second})
    finish.set()

    assert second.cancelled()
    assert await first == (ANSWER, False)
    assert await once.once("key", "print", soon(), must_not_run) == (ANSWER, True)


async def test_who_leaves_while_working_frees_the_key(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0)
    began = asyncio.Event()

    async def endless() -> KeptAnswer:
        began.set()
        await asyncio.Event().wait()
        return ANSWER

    first = asyncio.create_task(once.once("key", "print", soon(), endless))
    await began.wait()
    first.cancel()
    await asyncio.wait({first})

    assert await once.once("key", "print", soon(0.0), done) == (ANSWER, False)


async def test_who_leaves_when_the_answer_is_there_leaves_no_claim_behind(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0)
    worked = asyncio.Event()

    async def working() -> KeptAnswer:
        worked.set()
        return ANSWER

    task = asyncio.create_task(once.once("key", "print", soon(), working))
    await worked.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    found = await store.claim("key", "print", "me", 60.0)
    assert found in (Answered("print", ANSWER), Claimed())  # kept, or given up: never left claimed


async def test_a_conflict_and_a_wait_that_is_over_leave_the_claim_alone(store: StateAnswers) -> None:
    once = Idempotency(store, 60.0)
    await store.claim("key", "print", "somebody", 60.0)

    with pytest.raises(Conflict):
        await once.once("key", "another print", soon(), must_not_run)
    with pytest.raises(DeadlineExceeded, match="still under way"):
        await once.once("key", "print", soon(0.05), must_not_run)

    assert await store.keep("key", "somebody", ANSWER, 60.0)


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.services import idempotency

    monkeypatch.setattr(idempotency, "ATTEMPTS_S", (0.0,))
    state = State(StateUrl("sqlite:///state.db"), tmp_path)
    once = Idempotency(StateAnswers(state), 60.0)

    async def breaking() -> KeptAnswer:
        await state.close()
        for file in tmp_path.glob("state.db*"):
            file.unlink()
        (tmp_path / "state.db").write_bytes(b"no database" * 1000)
        return ANSWER

    assert await once.once("key", "print", soon(), breaking) == (ANSWER, False)
    assert "could not be kept" in caplog.text
    with pytest.raises(DependencyFailure):
        await once.once("key", "print", soon(), must_not_run)
    await state.close()
