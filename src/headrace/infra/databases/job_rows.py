"""How are jobs written into their table, and read back?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.domain.jobs import Job, Status, status_now
from headrace.infra.databases.clock import now as database_now
from headrace.infra.databases.job_processes import HOST, is_gone, mark
from headrace.infra.databases.schema import jobs

KEPT_S: Final = 90 * 24 * 3600.0
"""How long a job is remembered after the last word of it."""
_SEEN: Final = ("running", "interrupted")
_ASKED: Final = msgspec.json.Decoder(dict[str, Any])


async def write(connection: AsyncConnection, job: Job) -> bool:
    """Bring the row of the job's run up to date."""
    values = _progress(connection, job)
    done = await connection.execute(update(jobs).where(jobs.c.id == job.id, jobs.c.run == job.run).values(values))
    return done.rowcount > 0


async def add(connection: AsyncConnection, job: Job) -> None:
    """Make the row of a job. Raises IntegrityError if there is one, which is another run's."""
    await connection.execute(insert(jobs).values(id=job.id, **_begun(connection, job)))


async def take_over(connection: AsyncConnection, job: Job, run: str, updated_at: float) -> bool:
    """Put *job* into the row that *run* has not touched since *updated_at*."""
    same = (jobs.c.id == job.id, jobs.c.run == run, jobs.c.updated_at == updated_at)
    done = await connection.execute(update(jobs).where(*same).values(_begun(connection, job)))
    return done.rowcount > 0


async def sweep(connection: AsyncConnection) -> None:
    """Forget jobs of which nothing was heard for long."""
    await connection.execute(delete(jobs).where(jobs.c.updated_at < database_now(connection) - KEPT_S))


async def get(connection: AsyncConnection, id: str) -> Job | None:
    """The job of that *id*."""
    query = select(jobs, database_now(connection).label("now")).where(jobs.c.id == id)
    row = (await connection.execute(query)).first()
    return None if row is None else _job(row)


async def newest(connection: AsyncConnection, limit: int, status: Status | None) -> Sequence[Job]:
    """The newest jobs. That one was interrupted stands in no row: it is seen when the row is read."""
    query = select(jobs, database_now(connection).label("now")).order_by(jobs.c.started_at.desc(), jobs.c.id)
    if status in _SEEN:
        rows = await connection.execute(query.where(jobs.c.status == "running"))
        return [job for job in map(_job, rows) if job.status == status][:limit]
    if status is not None:
        query = query.where(jobs.c.status == status)
    return [_job(row) for row in await connection.execute(query.limit(limit))]


def _begun(connection: AsyncConnection, job: Job) -> Mapping[str, Any]:
    """What is written once for each run: by whom, and when it began."""
    pid = os.getpid()
    return {
        **_progress(connection, job),
        "run": job.run,
        "pipeline": job.pipeline,
        "version": job.version,
        "asked": msgspec.json.encode(job.asked).decode(),
        "attempt": job.attempt,
        "host": HOST[:255],
        "pid": pid,
        "process": mark(pid),
        "started_at": database_now(connection) - job.seconds,
    }


def _progress(connection: AsyncConnection, job: Job) -> Mapping[str, Any]:
    return {
        "status": job.status,
        "rows_read": job.rows,
        "rows_failed": job.failed,
        "rows_total": job.total,
        "part_read": job.read,
        "seconds": job.seconds,
        "errors_in": job.errors,
        "error_code": job.code,
        "error_message": job.message,
        "updated_at": database_now(connection),
    }


def _job(row: Row[Any]) -> Job:
    gone = row.status == "running" and is_gone(row.pid, row.process)
    status = status_now(row.status, row.now - row.updated_at, gone)
    return Job(
        id=row.id,
        run=row.run,
        pipeline=row.pipeline,
        version=row.version,
        asked=_ASKED.decode(row.asked),
        attempt=row.attempt,
        status=status,
        rows=row.rows_read,
        failed=row.rows_failed,
        read=row.part_read,
        total=row.rows_total,
        seconds=row.seconds,
        errors=row.errors_in,
        code=row.error_code,
        message=row.error_message,
        host=row.host,
        pid=row.pid,
        started_at=row.started_at,
        updated_at=row.updated_at,
        ended_at=None if status == "running" else row.updated_at,  # the last word of it
    )
