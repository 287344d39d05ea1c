"""What is told of a job while it runs? Others see it then, and a job that died is known afterwards."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from headrace.core.logging import logger
from headrace.core.masking import mask_text
from headrace.domain.errors import EngineError, Internal
from headrace.domain.jobs import Job, Status
from headrace.domain.ports import JobStore

if TYPE_CHECKING:
    from headrace.services.job_orders import Progress

log = logger(__name__)

EVERY_S: Final = 1.0
"""How often a job that goes on is written down."""
ALIVE_S: Final = 15.0
"""How often one is that does not, so that nobody takes it for dead."""
RETRY_S: Final = 10.0
"""How long a store that failed is left alone."""
END_S: Final = 5.0
"""The longest that the end of a job waits until it is written down."""
LONGEST: Final = 2000
"""Characters that are kept of a message."""


class JobNotes:
    """Writes one run of a job down for the length of an ``async with`` block, beside the run and never in its way.

    A store that cannot be written costs a warning, and at the end of the run `END_S` at most.
    """

    def __init__(self, store: JobStore, job: Job, errors_place: str) -> None:
        """*errors_place* names where failed rows go, wherever somebody asks from."""
        self.progress: Progress | None = None
        """How far the run has come; whoever runs it sets this, as often as it likes."""
        self._store = store
        self._job = job
        self._errors_place = mask_text(errors_place)
        self._began = time.monotonic()
        self._over = asyncio.Event()
        self._ours = True
        self._warned = False

    async def __aenter__(self) -> Self:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        ended = _ended(self._now(), error)
        self._over.set()
        try:
            async with asyncio.timeout(END_S):
                await asyncio.wait({self._following})
                await self._tell(ended)
        except TimeoutError:
            self._warn()
        finally:
            self._following.cancel()

    async def _follow(self) -> None:
        """Write until the run is over: at the start, then what is new, and now and then that it is there at all."""
        last, at = self._now(), time.monotonic()
        told = await self._tell(last)
        while not await self._over_within(EVERY_S if told else RETRY_S):
            now = self._now()
            if told and replace(now, seconds=last.seconds) == last and time.monotonic() < at + ALIVE_S:
                continue
            last, at = now, time.monotonic()
            told = await self._tell(now)

    async def _over_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def _tell(self, job: Job) -> bool:
        """Write *job* down; returns whether that is done. No failure of this may end the run."""
        if not self._ours:
            return True
        try:
            self._ours = await self._store.write(job)
        except EngineError:  # the store has said what is wrong
            self._warn()
            return False
        except Exception as error:
            log.error("a job cannot be written down", job=job.id, exc_info=error)
            return False
        if not self._ours:
            log.warning("another run of this job has begun; this one goes on by itself", job=job.id)
        return True

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("the job goes on without being written down", job=self._job.id)

    def _now(self) -> Job:
        seconds, found = time.monotonic() - self._began, self.progress
        if found is None:
            return replace(self._job, seconds=seconds)
        return replace(
            self._job,
            rows=found.rows,
            failed=found.failed,
            read=found.read,
            total=found.total,
            errors=None if found.errors is None else self._errors_place,
            seconds=seconds,
        )


def _ended(job: Job, error: BaseException | None) -> Job:
    """*job* as the *error* that ended it, or none, leaves it."""
    if error is None:
        return replace(job, status="done")
    if not isinstance(error, Exception):  # cancelled, or Ctrl-C
        return replace(job, status="cancelled")
    failed: Status = "failed"
    if isinstance(error, EngineError):
        return replace(job, status=failed, code=error.code, message=mask_text(error.message)[:LONGEST])
    message = f"a fault of Headrace itself: {type(error).__name__}: {error}"
    return replace(job, status=failed, code=Internal.code, message=mask_text(message)[:LONGEST])
