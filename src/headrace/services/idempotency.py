"""How is a request that comes twice under one key answered once? The first answer is kept, and given again.

A key is claimed before the work begins and the answer stands in the database before the caller gets it. A claim lasts
a few seconds and is renewed while the work goes on, so that the key of a process that died is free again soon.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from headrace.core.logging import logger
from headrace.domain.errors import Conflict, DeadlineExceeded, EngineError
from headrace.domain.ports import Answered, AnswerStore, Claimed, KeptAnswer

T = TypeVar("T")
log = logger(__name__)

LEASE_S: Final = 10.0
RENEW_S: Final = 3.0
FIRST_LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 0.25
"""How soon, and at last how often, somebody who waits for another's answer looks for it."""
ATTEMPTS_S: Final = (0.5, 1.5)
"""Pauses between attempts to keep an answer that is there already."""

Work = Callable[[], Awaitable[KeptAnswer]]


class Idempotency:
    """Answers each key once within *ttl_s* seconds.

    Only answers with a status below 300 are kept: after a failure the key is free, and a repetition is answered anew.
    """

    def __init__(self, store: AnswerStore, ttl_s: float, *, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._lease_s = lease_s
        self._renew_s = lease_s * RENEW_S / LEASE_S

    async def once(self, key: str, fingerprint: str, deadline: float, work: Work) -> tuple[KeptAnswer, bool]:
        """The answer under *key*, and whether it is an earlier one; without one, *work* makes it.

        *deadline* (of the monotonic clock) bounds the wait for somebody who is at work on the same. Raises Conflict
        for a key under which something else was asked, DeadlineExceeded, what *work* raises, and DependencyFailure,
        before anything is done, when the database cannot be used. To be run in a task.
        """
        owner = secrets.token_hex(16)
        try:
            kept = await self._claimed(key, fingerprint, owner, deadline)
        except asyncio.CancelledError:
            await self._released(key, owner)
            raise
        if kept is not None:
            return kept, True
        try:
            answer = await self._work(key, owner, work)
        except BaseException:
            await self._released(key, owner)
            raise
        if answer.status < 300:
            await _to_the_end(self._keep(key, owner, answer))
        else:
            await self._released(key, owner)
        return answer, False

    async def _claimed(self, key: str, fingerprint: str, owner: str, deadline: float) -> KeptAnswer | None:
        """The answer of somebody else, or None: the claim is ours."""
        pause = FIRST_LOOK_S
        while True:
            found = await _to_the_end(self._store.claim(key, fingerprint, owner, self._lease_s))
            if isinstance(found, Claimed):
                return None
            if found.fingerprint != fingerprint:
                raise Conflict("this Idempotency-Key was used for another request; take a new key for a new request")
            if isinstance(found, Answered):
                return found.answer
            if time.monotonic() + pause >= deadline:
                raise DeadlineExceeded("a request with this Idempotency-Key is still under way; ask again later")
            await asyncio.sleep(pause)
            pause = min(LAST_LOOK_S, pause * 2)

    async def _work(self, key: str, owner: str, work: Work) -> KeptAnswer:
        renewing = asyncio.create_task(self._renew(key, owner))
        try:
            return await work()
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

    async def _renew(self, key: str, owner: str) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            with suppress(EngineError):  # the claim lasts a while yet, and the next attempt may succeed
                await _to_the_end(self._store.renew(key, owner, self._lease_s))

    async def _keep(self, key: str, owner: str, answer: KeptAnswer) -> None:
        """Keep *answer*. If that fails it is given all the same: it is right, and was computed."""
        for pause in (*ATTEMPTS_S, None):
            try:
                if not await self._store.keep(key, owner, answer, self._ttl_s):
                    log.warning("an answer came after its claim on an Idempotency-Key was over; it was not kept")
                return
            except EngineError as error:
                if pause is None:
                    log.warning("an answer could not be kept for its Idempotency-Key", reason=error.message)
                    return
            await asyncio.sleep(pause)

    async def _released(self, key: str, owner: str) -> None:
        with suppress(EngineError):  # then the claim ends by itself
            await _to_the_end(self._store.release(key, owner))


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What *work* returns. A caller who leaves does not interrupt it: databases dislike half a conversation."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: nobody is left to be told
        raise
