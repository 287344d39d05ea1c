"""How do many small calls to a server become few? What comes while one call is under way goes together in the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class Gathering(Generic[Asked, Found]):
    """Calls *run* with what has gathered, at most *most* items at once, one call after the other.

    *run* returns a result for each item and raises nothing. An asker that leaves disturbs nobody.
    """

    def __init__(self, run: Callable[[Sequence[Asked]], Awaitable[Sequence[Found]]], most: int) -> None:
        self._run = run
        self._most = most
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many items the next calls will take."""
        return len(self._waiting)

    async def ask(self, items: Sequence[Asked]) -> list[Found]:
        """The result of each of *items*."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Found]] = [loop.create_future() for _ in items]
        self._waiting += zip(items, futures, strict=True)
        if self._task is None and self._waiting:
            # In no request's context: what is logged there is about all of them.
            self._task = loop.create_task(self._empty(), context=Context())
        return list(await asyncio.gather(*futures))

    async def close(self) -> None:
        """Wait until nothing is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _empty(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                results = await self._run([item for item, _ in taken])
                for (_, future), result in zip(taken, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._task = None
