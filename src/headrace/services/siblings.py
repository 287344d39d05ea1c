"""How does a worker stay in step with the other workers of its server? By a line to their supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from itertools import count
from typing import Any, Final

from headrace.core.logging import logger
from headrace.domain.errors import DependencyFailure, EngineError
from headrace.services.deployments import Deployments
from headrace.services.worker_messages import (
    Announced,
    Change,
    Collect,
    Do,
    Done,
    Ended,
    Failed,
    Figures,
    Line,
    Message,
    Numbers,
    Open,
    Ready,
    Stop,
    Verb,
)

ALL_DONE_S: Final = 300.0
"""How long somebody who changed something waits for the other workers: loading a large model takes minutes."""
NUMBERS_S: Final = 2.0
"""How long a scrape waits for the numbers of all; it gets those of this worker alone then."""

log = logger("headrace")
_following: ContextVar[bool] = ContextVar("following", default=False)

Make = Callable[[Change], Awaitable[Any]]
Read = Callable[[], Figures]


class Siblings:
    """The other workers, as this one sees them. *number* counts from 1, and there are *workers* of them."""

    def __init__(self, line: Line, number: int, workers: int) -> None:
        self.number = number
        self.workers = workers
        self._line = line
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._changes: asyncio.Queue[Do] = asyncio.Queue()
        self._makes: Mapping[Verb, Make] = {}
        self._read: Read = Figures
        self._announcing: set[asyncio.Task[None]] = set()

    def join(self, makes: Mapping[Verb, Make], read: Read) -> None:
        """Let *makes* do what others have done, by its verb, and *read* tell this worker's figures."""
        self._makes, self._read = makes, read

    async def listen(self, stop: asyncio.Event, opened: Callable[[], None]) -> None:
        """Do as the supervisor says until it is gone; then, and when it says so, set *stop*."""
        making = asyncio.create_task(self._make_changes())
        try:
            while (message := await self._line.receive()) is not None:
                if isinstance(message, Stop):
                    stop.set()
                elif isinstance(message, Open):
                    opened()
                else:
                    self._take(message)
        finally:
            stop.set()
            making.cancel()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(Done(0, "the server is stopping"))

    def ready(self, pipelines: list[str], streams: list[str]) -> None:
        """Everything is loaded here."""
        self._line.send(Ready(tuple(pipelines), tuple(streams)))

    def failed(self, message: str, code: int) -> None:
        """This worker cannot serve."""
        self._line.send(Failed(message, code))

    def ended(self, cut: int) -> None:
        """This worker has finished."""
        self._line.send(Ended(cut, self._read()))

    async def announce(self, verb: Verb, name: str = "", version: str | None = None) -> None:
        """Let all others do what was done here; returns when they have. Raises DependencyFailure if one cannot.

        Nothing happens where this worker itself only follows another one.
        """
        if _following.get():
            return
        number = next(self._ids)
        answer = await self._ask(number, Announced(number, Change(verb, name, version)), ALL_DONE_S)
        if answer is None:
            raise DependencyFailure(f"done in one worker; the others have not answered for {ALL_DONE_S:g} s")
        if isinstance(answer, Done) and answer.reason:
            raise DependencyFailure(f"done in one worker, but not in another: {answer.reason}")

    def announce_soon(self, verb: Verb) -> None:
        """The same for whoever does not wait; what fails is in the log."""
        task = asyncio.get_running_loop().create_task(self._announced(verb))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def figures(self) -> Figures:
        """The figures of all workers together; those of this one alone if the supervisor does not answer in time."""
        number = next(self._ids)
        answer = await self._ask(number, Collect(number), NUMBERS_S)
        return answer.figures if isinstance(answer, Numbers) else self._read()

    async def follow(self, change: Change) -> str:
        """Do what was done elsewhere; returns why it cannot be done, if so."""
        _following.set(True)  # holds for the task of the caller, which does nothing else
        try:
            await self._makes[change.verb](change)
        except EngineError as error:
            log.error("a change did not reach this worker", worker=self.number, change=change, reason=error.message)
            return error.message
        return ""

    async def close(self) -> None:
        """End the line."""
        await self._line.close()

    def _take(self, message: Message) -> None:
        if isinstance(message, Do):
            self._changes.put_nowait(message)
        elif isinstance(message, Collect):
            self._line.send(Numbers(message.id, self._read()))
        elif isinstance(message, Done | Numbers):
            waiting = self._waiting.get(message.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def _announced(self, verb: Verb) -> None:
        try:
            await self.announce(verb)
        except DependencyFailure as error:
            log.error("a change did not reach all workers", change=verb, reason=error.message)

    async def _ask(self, number: int, question: Message, limit_s: float) -> Message | None:
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._line.send(question)
        try:
            return await asyncio.wait_for(answer, limit_s)
        except TimeoutError:
            return None
        finally:
            del self._waiting[number]

    async def _make_changes(self) -> None:
        """One after the other, in the order in which the supervisor tells them: that is the same for all."""
        while True:
            change = await self._changes.get()
            self._line.send(Done(change.id, await self.follow(change.change)))


def deployment_changes(deployments: Deployments) -> Mapping[Verb, Make]:
    """How a worker makes the changes of what is loaded."""

    def make(act: Callable[[str, str | None], Awaitable[Any]]) -> Make:
        async def made(change: Change) -> None:
            try:
                await act(change.name, change.version)
            except EngineError:
                if not await deployments.refresh():  # the other worker may have seen a new file first
                    raise
                await act(change.name, change.version)

        return made

    return {"load": make(deployments.load), "unload": make(deployments.unload), "reload": make(deployments.reload)}
