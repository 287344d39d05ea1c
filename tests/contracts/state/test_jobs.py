"""What is told of jobs is remembered as it was told, whoever asks, in every database."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from headrace.domain.jobs import SILENT_S, Job
from headrace.infra.databases import job_rows
from headrace.infra.databases.job_processes import HOST, mark
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateJobs
from headrace.infra.databases.url import StateUrl

ASKED = {"input": "/größe/in.csv", "keep": {"b": "2", "a": "1"}, "options": {"k": [1, None, 0.5]}, "row_number": False}
JOB = Job("one", "run 1", "Größe", "1", ASKED)
FULL = replace(
    JOB, status="failed", rows=3_000_000_000, failed=7, read=0.25, total=12_000_000_000, seconds=90.5,
    errors="/größe/out.csv.errors.jsonl", code="model_failure", message="it said 'nein' 🙈\n" * 100,
)  # fmt: skip


def plain(job: Job) -> Job:
    """*job* without what the store fills in."""
    return replace(job, host="", pid=0, started_at=0.0, updated_at=0.0, ended_at=None)


@pytest.fixture
def ended_process() -> Iterator[tuple[int, str]]:
    """The number of a process that is gone, and its mark."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    marked = mark(process.pid)
    process.communicate(b"\n")
    yield process.pid, marked


async def execute(state: State, statement: str, **values: object) -> None:
    async with state.writing() as connection:
        await connection.execute(text(statement), values)


async def test_a_job_comes_back_as_it_was_told_from_another_process(state: State, url: str, tmp_path: Path) -> None:
    jobs, other = StateJobs(state), State(StateUrl(url), tmp_path)

    assert await jobs.write(JOB)
    running = await StateJobs(other).get("one")
    assert await jobs.write(FULL)
    ended = await StateJobs(other).get("one")
    await other.close()

    assert running is not None and ended is not None
    assert (plain(running), plain(ended)) == (JOB, FULL)
    assert (running.host, running.pid, running.ended_at) == (HOST, os.getpid(), None)
    assert list(ended.asked["keep"]) == ["b", "a"]
    assert ended.started_at == running.started_at <= running.updated_at <= ended.updated_at == ended.ended_at


async def test_a_job_that_nobody_told_of_is_none(state: State) -> None:
    assert await StateJobs(state).get("one") is None
    assert list(await StateJobs(state).newest(10)) == []


async def test_the_newest_come_first_and_a_status_chooses(state: State) -> None:
    jobs = StateJobs(state)
    for number, status in enumerate(["done", "running", "failed", "done"]):
        await jobs.write(replace(JOB, id=str(number), status=status, seconds=100.0 - number))  # type: ignore[arg-type]

    assert [job.id for job in await jobs.newest(10)] == ["3", "2", "1", "0"]
    assert [job.id for job in await jobs.newest(1)] == ["3"]
    assert [job.id for job in await jobs.newest(10, "done")] == ["3", "0"]
    assert [job.id for job in await jobs.newest(1, "done")] == ["3"]
    assert [job.id for job in await jobs.newest(10, "running")] == ["1"]
    assert list(await jobs.newest(10, "interrupted")) == []


async def test_a_job_whose_process_is_gone_is_seen_as_interrupted(state: State, ended_process: tuple[int, str]) -> None:
    jobs, (pid, marked) = StateJobs(state), ended_process
    await jobs.write(JOB)
    await execute(state, "UPDATE headrace_jobs SET pid = :pid, process = :mark", pid=pid, mark=marked)

    found = await jobs.get("one")

    assert found is not None and (found.status, found.ended) == ("interrupted", True)
    assert found.ended_at == found.updated_at
    assert [job.id for job in await jobs.newest(10, "interrupted")] == ["one"]
    assert list(await jobs.newest(10, "running")) == []


async def test_a_number_that_another_process_got_is_not_taken_for_the_job(state: State) -> None:
    jobs = StateJobs(state)
    await jobs.write(JOB)
    place = mark(os.getpid()).partition(":")[0]
    await execute(state, "UPDATE headrace_jobs SET process = :mark", mark=f"{place}:1")  # began with the machine

    assert (found := await jobs.get("one")) is not None and found.status == "interrupted"


async def test_a_job_of_another_machine_is_interrupted_once_nothing_is_heard_of_it(
    state: State, ended_process: tuple[int, str]
) -> None:
    jobs, (pid, _) = StateJobs(state), ended_process
    await jobs.write(JOB)
    await execute(state, "UPDATE headrace_jobs SET pid = :pid, process = 'elsewhere:1'", pid=pid)
    heard = await jobs.get("one")
    await execute(state, "UPDATE headrace_jobs SET updated_at = updated_at - :silent", silent=SILENT_S)

    silent = await jobs.get("one")

    assert heard is not None and silent is not None
    assert (heard.status, silent.status) == ("running", "interrupted")


async def test_of_many_who_resume_a_job_one_does_and_the_first_run_counts_no_more(
    state: State, url: str, tmp_path: Path
) -> None:
    jobs = StateJobs(state)
    await jobs.write(FULL)
    before = await jobs.get("one")
    assert before is not None
    states = [State(StateUrl(url), tmp_path) for _ in range(3)]

    taken = await asyncio.gather(
        *(StateJobs(one).take_over(replace(JOB, run=f"run {n}", attempt=2), before) for n, one in enumerate(states, 2))
    )
    for one in states:
        await one.close()

    assert sorted(taken) == [False, False, True]
    assert not await jobs.write(replace(FULL, rows=1))
    after = await jobs.get("one")
    assert after is not None and after.run == f"run {taken.index(True) + 2}"
    assert plain(after) == replace(JOB, run=after.run, attempt=2)
    assert after.started_at > before.started_at


async def test_a_job_that_went_on_meanwhile_is_not_taken_over(state: State) -> None:
    jobs = StateJobs(state)
    await jobs.write(FULL)
    before = await jobs.get("one")
    assert before is not None
    await jobs.write(replace(FULL, status="running"))

    assert not await jobs.take_over(replace(JOB, run="run 2"), before)


async def test_jobs_of_long_ago_are_forgotten_when_one_begins(state: State) -> None:
    jobs = StateJobs(state)
    await jobs.write(JOB)
    await jobs.write(replace(JOB, id="two"))
    ago = job_rows.KEPT_S + 1
    await execute(state, "UPDATE headrace_jobs SET updated_at = updated_at - :ago WHERE id = 'one'", ago=ago)

    await jobs.write(replace(JOB, id="three"))

    assert sorted(job.id for job in await jobs.newest(10)) == ["three", "two"]


async def test_many_jobs_are_told_of_at_once(state: State, url: str, tmp_path: Path) -> None:
    states = [state, State(StateUrl(url), tmp_path)]

    async def told(number: int) -> None:
        jobs = StateJobs(states[number % 2])
        for rows in range(5):
            assert await jobs.write(replace(JOB, id=str(number), rows=rows))
        assert await jobs.write(replace(JOB, id=str(number), rows=number, status="done"))

    await asyncio.gather(*(told(number) for number in range(12)))
    found = await StateJobs(states[1]).newest(50)
    await states[1].close()

    assert {job.id: (job.rows, job.status) for job in found} == {str(n): (n, "done") for n in range(12)}
