"""Every run is remembered, as far as somebody can remember it; whether or not, it runs."""

import asyncio
import os
import resource
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.servers.ports import free_port
from tests.services.pipelines import Held, pipeline

from headrace.domain.errors import Conflict, DependencyFailure, InvalidInput, NotFound
from headrace.domain.jobs import Job
from headrace.domain.ports import JobStore
from headrace.domain.routing import Asked, Router
from headrace.infra.databases import engines
from headrace.infra.databases import state as states
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateJobs
from headrace.infra.databases.url import StateUrl
from headrace.infra.storage.datasets import LocalTables
from headrace.services import job_notes
from headrace.services.engine import Engine
from headrace.services.inference import Inference
from headrace.services.job_orders import Order, Progress, order_of
from headrace.services.jobs import Jobs

ASKED = Asked("double")
ROWS = 50


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PAUSE_S", 0.0)
    monkeypatch.setattr(engines, "LOCKED_S", 0.05)
    monkeypatch.setattr(job_notes, "EVERY_S", 0.01)
    monkeypatch.setattr(job_notes, "RETRY_S", 0.01)


@pytest.fixture
async def model(engine: Engine) -> AsyncIterator[Held]:
    model = Held()
    await engine.add(pipeline(model))
    yield model
    model.release()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateJobs]:
    state = State(StateUrl("sqlite:///state.db"), tmp_path)
    yield StateJobs(state)
    await state.close()


@pytest.fixture
def jobs(engine: Engine, model: Held, store: StateJobs) -> Jobs:
    return jobs_with(engine, store)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "in.csv").write_text("x\n" + "".join(f"{number}\n" for number in range(ROWS)))
    return Order(ASKED, str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl"), chunk_rows=10)


def jobs_with(engine: Engine, store: JobStore) -> Jobs:
    return Jobs(Inference(engine, Router(engine.registry)), LocalTables(), store)


async def only(store: JobStore) -> Job:
    [job] = await store.newest(10)
    return job


async def until(store: JobStore, meets: Callable[[Job], bool]) -> Job:
    """The only job, once it *meets* what is wanted."""
    async with asyncio.timeout(10):
        while True:
            if (found := await store.newest(10)) and meets(found[0]):
                return found[0]
            await asyncio.sleep(0.005)


def assert_whole(order: Order, done: Progress) -> None:
    assert (done.rows, done.failed) == (ROWS, 0)
    assert len(Path(order.output).read_text().splitlines()) == ROWS


async def test_a_run_is_remembered_with_what_was_asked_and_what_came_of_it(
    jobs: Jobs, store: StateJobs, order: Order, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("x\n1\ntwo\n3\n")
    monkeypatch.chdir(tmp_path)

    done = await jobs.run(replace(order, input="in.csv", output="out.jsonl", options={"note": "hi"}))

    job = await only(store)
    assert (job.id, job.status, job.attempt, job.pipeline, job.version) == (done.job, "done", 1, "double", "1")
    assert (job.rows, job.failed, job.read, job.code) == (3, 1, 1.0, None)
    assert job.seconds == pytest.approx(done.seconds, abs=0.5)
    assert (job.asked["input"], job.errors) == (str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl.errors.jsonl"))
    assert (job.asked["options"], job.asked["chunk_rows"]) == ({"note": "hi"}, 10)


async def test_a_run_is_seen_while_it_goes_on(jobs: Jobs, model: Held, store: StateJobs, order: Order) -> None:
    model.hold()
    running = asyncio.ensure_future(jobs.run(order))
    begun = await until(store, lambda job: job.rows == 0)
    for _ in range(3):
        model.let_one_pass()
    going_on = await until(store, lambda job: job.rows > 0)
    model.release()
    done = await running

    assert (begun.status, going_on.status) == ("running", "running")
    assert 0 < going_on.rows < ROWS
    assert_whole(order, done)
    assert (await only(store)).rows == ROWS


class Counting(StateJobs):
    """Counts how often it is told something."""

    words = 0

    async def write(self, job: Job) -> bool:
        self.words += 1
        return await super().write(job)


async def test_many_steps_are_few_words(
    engine: Engine, model: Held, order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_notes, "EVERY_S", 60.0)
    state, steps = State(StateUrl("sqlite:///state.db"), tmp_path), list[Progress]()
    store = Counting(state)

    await jobs_with(engine, store).run(replace(order, chunk_rows=1), steps.append)
    job = await only(store)
    await state.close()

    assert len(steps) > ROWS
    assert (store.words, job.rows) == (2, ROWS)


async def test_a_run_that_stands_still_is_still_heard_of(
    jobs: Jobs, model: Held, store: StateJobs, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_notes, "ALIVE_S", 0.02)
    model.hold()
    running = asyncio.ensure_future(jobs.run(order))
    first = await until(store, lambda job: True)

    assert (await until(store, lambda job: job.updated_at > first.updated_at + 0.05)).status == "running"

    model.release()
    await running


async def test_what_ended_a_run_is_remembered_without_secrets(
    jobs: Jobs, store: StateJobs, order: Order, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("x\n" + "1\n" * 5000 + '"open')
    with pytest.raises(InvalidInput):
        await jobs.run(replace(order, options={"api_key": "s3cret", "url": "postgresql://ann:s3cret@host/shop"}))

    job = await only(store)
    assert (job.status, job.code) == ("failed", "invalid_input")
    assert job.message is not None and "never closed" in job.message
    assert b"s3cret" not in b"".join(file.read_bytes() for file in tmp_path.glob("state.db*"))


async def test_a_run_that_is_cancelled_is_remembered_as_such(
    jobs: Jobs, model: Held, store: StateJobs, order: Order
) -> None:
    model.hold()
    running = asyncio.ensure_future(jobs.run(order))
    await model.entered()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    job = await only(store)
    assert (job.status, job.code) == ("cancelled", None)


async def test_a_fault_of_ours_is_remembered_as_one(jobs: Jobs, store: StateJobs, order: Order) -> None:
    def fail(_: Progress) -> None:
        raise ZeroDivisionError("by postgresql://ann:s3cret@host/shop")

    with pytest.raises(ZeroDivisionError):
        await jobs.run(order, fail)

    job = await only(store)
    assert (job.status, job.code) == ("failed", "internal")
    assert job.message == "a fault of Headrace itself: ZeroDivisionError: by postgresql://ann:***@host/shop"


async def test_what_was_cancelled_is_resumed_as_the_same_job_in_its_next_attempt(
    jobs: Jobs, model: Held, store: StateJobs, order: Order
) -> None:
    model.hold()
    running = asyncio.ensure_future(jobs.run(replace(order, row_number=True)))
    await model.entered()
    running.cancel()
    await asyncio.wait({running})
    model.release()
    before = await only(store)

    done = await jobs.resume(before.id)

    after = await only(store)
    assert_whole(order, done)
    assert (after.id, after.status, after.attempt, after.rows) == (before.id, "done", 2, ROWS)
    assert (done.job, after.asked) == (before.id, before.asked)
    assert '"row":1' in Path(order.output).read_text()


async def test_what_cannot_be_resumed_is_told(jobs: Jobs, model: Held, store: StateJobs, order: Order) -> None:
    with pytest.raises(NotFound, match="there is no job 'none'; `headrace batch list` shows"):
        await jobs.resume("none")
    done = await jobs.run(order)
    with pytest.raises(Conflict, match="is done; `headrace batch run` does it once more"):
        await jobs.resume(done.job or "")
    secret = Job("a", "a", "double", "1", replace(order, options={"password": "x"}).remembered(LocalTables()))
    with pytest.raises(Conflict, match="was given a secret, which is not remembered"):
        order_of(replace(secret, status="failed"))
    await store.write(Job("gone", "a", "double", "7", order.remembered(LocalTables()), status="failed"))
    with pytest.raises(NotFound):
        await jobs.resume("gone")

    model.hold()
    running = asyncio.ensure_future(jobs.run(order))
    await model.entered()
    job = await until(store, lambda job: job.status == "running")
    with pytest.raises(Conflict, match=f"is running, as process {os.getpid()} on "):
        await jobs.resume(job.id)
    model.release()
    await running


async def test_a_run_whose_job_another_has_taken_over_goes_on_and_says_no_more(
    jobs: Jobs, model: Held, store: StateJobs, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    model.hold()
    running = asyncio.ensure_future(jobs.run(order))
    await model.entered()
    before = await until(store, lambda job: job.status == "running")
    assert await store.take_over(replace(before, run="other", attempt=2), before)
    model.release()

    assert_whole(order, await running)
    after = await only(store)
    assert (after.run, after.attempt, after.status, after.rows) == ("other", 2, "running", before.rows)
    assert caplog.text.count("another run of this job has begun") == 1


async def test_runs_at_the_same_time_are_remembered_each(jobs: Jobs, store: StateJobs, order: Order) -> None:
    done = await asyncio.gather(*(jobs.run(replace(order, output=f"{order.output}.{n}.csv")) for n in range(6)))

    found = {job.id: (job.status, job.rows) for job in await store.newest(10)}
    assert found == {one.job: ("done", ROWS) for one in done}


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def full(_: Path) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # enough for the answers
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(file: Path) -> Iterator[None]:
    # Rights do not bind everybody; a folder in the place of SQLite's own file does.
    for name in (f"{file.name}-journal", f"{file.name}-wal"):
        file.with_name(name).unlink(missing_ok=True)
        file.with_name(name).mkdir()
    yield


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    file.write_bytes(b"my thesis, the only copy" * 400)
    yield


@pytest.mark.parametrize("trouble", [locked, full, read_only, damaged])
async def test_a_run_goes_on_when_the_database_cannot_be_written(
    trouble: Callable[[Path], Any], engine: Engine, model: Held, order: Order, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    made = State(StateUrl("sqlite:///state.db"), tmp_path)
    await StateJobs(made).write(Job("old", "a", "double", "1", {}, status="done"))
    await made.close()
    state = State(StateUrl("sqlite:///state.db"), tmp_path)

    with trouble(tmp_path / "state.db"):
        done = await jobs_with(engine, StateJobs(state)).run(order)
        with pytest.raises(DependencyFailure):
            await StateJobs(state).write(Job("new", "a", "double", "1", {}))
    await state.close()

    assert_whole(order, done)
    assert caplog.text.count("the job goes on without being written down") == 1


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_run_goes_on_when_the_database_server_is_away_or_says_nothing(
    scheme: str, silent: bool, engine: Engine, model: Held, order: Order, tmp_path: Path,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(job_notes, "END_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) if silent else nullcontext() as server:
        port = server.getsockname()[1] if server is not None else free_port()
        state = State(StateUrl(f"{scheme}://ann:s3cret@127.0.0.1:{port}/shop"), tmp_path)
        jobs = jobs_with(engine, StateJobs(state))
        done, took = await timed(jobs.run(order))
        await state.close()

    assert_whole(order, done)
    assert took < 5
    assert caplog.text.count("the job goes on without being written down") == 1
    assert "s3cret" not in caplog.text


async def timed(work: Awaitable[Progress]) -> tuple[Progress, float]:
    clock = asyncio.get_running_loop().time
    began = clock()
    return await work, clock() - began


async def test_a_database_that_comes_back_learns_of_the_run(
    jobs: Jobs, model: Held, store: StateJobs, order: Order, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.write(Job("old", "a", "double", "1", {}, status="done", seconds=60.0))
    model.hold()
    with locked(tmp_path / "state.db"):
        running = asyncio.ensure_future(jobs.run(order))
        async with asyncio.timeout(10):
            while "the job goes on" not in caplog.text:
                await asyncio.sleep(0.005)
    seen = await until(store, lambda job: job.status == "running")
    model.release()
    done = await running

    assert_whole(order, done)
    assert seen.id == done.job
    assert [(job.id, job.status) for job in await store.newest(10)] == [(done.job, "done"), ("old", "done")]
    assert caplog.text.count("the job goes on without being written down") == 1
