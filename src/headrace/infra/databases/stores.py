"""The ports for what is remembered, each over the state database; what is not needed is not imported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.domain.jobs import Job, Status
from headrace.domain.ports import (
    Answered,
    AnswerStore,
    Claimed,
    JobStore,
    KeptAnswer,
    KeyStore,
    RouteStore,
    SetRoute,
    StoredKey,
    UnderWay,
)
from headrace.domain.spec import RouteSpec
from headrace.infra.databases.state import State

SWEEP_S: Final = 60.0
"""How often a process removes answers that are past their time."""


class StateRoutes(RouteStore):
    """Routes in the state database, each change with an entry in its audit table."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def all(self) -> Mapping[str, SetRoute]:
        """Every one; nothing is opened where nothing can be."""
        if not self._state.present:
            return {}
        async with self._state.reading() as connection:
            from headrace.infra.databases import route_rows

            return await route_rows.every(connection)

    async def set(self, spec: RouteSpec, by: str) -> SetRoute:
        """Keep *spec* in the place of what was set before."""
        async with self._state.lasting() as connection:
            from headrace.infra.databases import route_rows

            return await route_rows.put(connection, spec, by)

    async def reset(self, name: str, by: str) -> bool:
        """Forget the route of *name*; returns whether there was one."""
        if not self._state.present:
            return False
        async with self._state.lasting() as connection:
            from headrace.infra.databases import route_rows

            return await route_rows.remove(connection, name, by)


class StateKeys(KeyStore):
    """Callers' keys in the state database, each change with an entry in its audit table."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def all(self) -> Sequence[StoredKey]:
        """Every one; nothing is opened where nothing can be."""
        if not self._state.present:
            return ()
        async with self._state.reading() as connection:
            from headrace.infra.databases import key_rows

            return await key_rows.every(connection)

    async def add(self, key: StoredKey) -> bool:
        """Keep *key*; of two of one name that come at once, the table's primary key lets one in."""
        from sqlalchemy.exc import IntegrityError

        from headrace.infra.databases import key_rows

        try:
            async with self._state.lasting() as connection:
                await key_rows.add(connection, key)
        except IntegrityError:
            return False
        return True

    async def revoke(self, name: str, by: str) -> StoredKey | None:
        """Let the key of *name* hold no more."""
        if not self._state.present:
            return None
        async with self._state.lasting() as connection:
            from headrace.infra.databases import key_rows

            return await key_rows.revoke(connection, name, by)


class StateAnswers(AnswerStore):
    """Answers by idempotency key in the state database."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._sweep_at = 0.0

    async def claim(self, key: str, fingerprint: str, owner: str, lease_s: float) -> Claimed | UnderWay | Answered:
        """Claim *key*; two who try at once are told apart by the table's primary key."""
        from sqlalchemy.exc import IntegrityError

        from headrace.infra.databases import answer_rows

        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            async with self._state.writing() as connection:
                await answer_rows.sweep(connection)
        while True:
            try:
                async with self._state.writing() as connection:
                    return await answer_rows.claim(connection, key, fingerprint, owner, lease_s)
            except IntegrityError:
                continue  # another has been faster, and stands there now

    async def renew(self, key: str, owner: str, lease_s: float) -> bool:
        """Hold the claim for *lease_s* seconds from now."""
        async with self._state.writing() as connection:
            from headrace.infra.databases import answer_rows

            return await answer_rows.renew(connection, key, owner, lease_s)

    async def keep(self, key: str, owner: str, answer: KeptAnswer, ttl_s: float) -> bool:
        """Put *answer* in the place of the claim."""
        async with self._state.writing() as connection:
            from headrace.infra.databases import answer_rows

            return await answer_rows.keep(connection, key, owner, answer, ttl_s)

    async def release(self, key: str, owner: str) -> None:
        """Give the claim up, if it is still held."""
        async with self._state.writing() as connection:
            from headrace.infra.databases import answer_rows

            await answer_rows.release(connection, key, owner)


class StateJobs(JobStore):
    """Jobs in the state database."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def write(self, job: Job) -> bool:
        """Bring the row of *job* up to date; the first word of one makes it, and forgets old ones."""
        from sqlalchemy.exc import IntegrityError

        from headrace.infra.databases import job_rows

        try:
            async with self._state.lasting() if job.ended else self._state.writing() as connection:
                if not await job_rows.write(connection, job):
                    await job_rows.sweep(connection)
                    await job_rows.add(connection, job)
                return True
        except IntegrityError:
            return False

    async def take_over(self, job: Job, before: Job) -> bool:
        """Put *job* into the row of *before*, unless somebody wrote it meanwhile."""
        async with self._state.writing() as connection:
            from headrace.infra.databases import job_rows

            return await job_rows.take_over(connection, job, before.run, before.updated_at)

    async def get(self, id: str) -> Job | None:
        """The job of that *id*; nothing is opened where nothing can be."""
        if not self._state.present:
            return None
        async with self._state.reading() as connection:
            from headrace.infra.databases import job_rows

            return await job_rows.get(connection, id)

    async def newest(self, limit: int, status: Status | None = None) -> Sequence[Job]:
        """The newest jobs of a *status*, or of any."""
        if not self._state.present:
            return ()
        async with self._state.reading() as connection:
            from headrace.infra.databases import job_rows

            return await job_rows.newest(connection, limit, status)
