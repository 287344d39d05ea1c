"""Is the server there? While it is not, nobody waits for it: it is tried in the background until it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from headrace.core.logging import logger

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0
"""Pauses between tries double from the first to the longest: so long at most is a server that came back not used."""

log = logger(__name__)


class Availability:
    """Whether *what* answers, as the last call showed. One log line for each change.

    *attempt* asks for a sign of life and raises when there is none.
    """

    def __init__(self, what: str, attempt: Callable[[], Awaitable[object]]) -> None:
        self.up = True
        self.failures = 0
        self._what = what
        self._attempt = attempt
        self._trying: asyncio.Task[None] | None = None

    def failed(self, error: Exception) -> None:
        """A call was not answered."""
        self.failures += 1
        if not self.up:
            return
        self.up = False
        log.warning("the cache does not answer: requests go on without it", cache=self._what, reason=_reason(error))
        self._trying = asyncio.get_running_loop().create_task(self._try_until_up(), context=Context())

    async def close(self) -> None:
        """Try no more."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.wait([self._trying])

    async def _try_until_up(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._attempt()
            except Exception:  # whatever it is, the server does not answer
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self.up = True
            self._trying = None
            log.info("the cache answers again", cache=self._what)
            return


def _reason(error: Exception) -> str:
    """*error* in one line, which never holds more of the URL than its host and port."""
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
