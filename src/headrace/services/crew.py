"""What does the supervisor know of its workers, and what does it carry from one to the others?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Literal

from headrace.core.families import Family, counter, gauge
from headrace.core.logging import logger
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
    all_together,
)

NUMBERS_S: Final = 0.5
"""How long a worker has to tell its numbers; of one that takes longer, those that it told last are used."""

WATCH_S: Final = 1.0

log = logger("headrace")

State = Literal["starting", "ready"]


@dataclass(eq=False, slots=True)
class Member:
    """One worker that runs: how it stands, and what it said last."""

    number: int
    line: Line
    state: State = "starting"
    silent: bool = False
    """Whether it did not tell its numbers in time when it was asked last."""
    ready: Ready | None = None
    failed: Failed | None = None
    ended: Ended | None = None
    figures: Figures = field(default_factory=Figures)
    collecting: dict[int, asyncio.Future[None]] = field(default_factory=dict)


class Crew:
    """The workers of one server. What one announces, the others do; their numbers add up, also those of the dead."""

    def __init__(self) -> None:
        self.wishes: tuple[Change, ...] = ()
        """What was loaded and unloaded by hand, for workers that come later."""
        self.restarts: Counter[str] = Counter()
        self.changed = asyncio.Event()
        """Set whenever a worker became ready, failed or left."""
        self._members: list[Member] = []
        self._kept = Figures()
        self._ids = count(1)
        self._changes: dict[int, tuple[Member, int, set[Member], list[str]]] = {}
        self._answers: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def join(self, member: Member) -> None:
        """*member* is one of them from now on."""
        self._members.append(member)

    async def attend(self, member: Member) -> None:
        """Do what *member* asks for until it is gone."""
        try:
            while (message := await member.line.receive()) is not None:
                self._take(member, message)
        finally:
            self._leave(member)

    def open(self) -> None:
        """Let all workers say that the server is ready."""
        self._tell(Open())

    def stop(self) -> None:
        """Let all workers finish."""
        self._tell(Stop())

    async def figures(self) -> Figures:
        """The figures of all workers together, and how many workers there are.

        Of one that does not answer in time the last known numbers count, so that no total ever falls; what it has
        under way now is left out.
        """
        await asyncio.gather(*map(self._collect, self._members))
        # Of those that are there still; who left meanwhile is among the kept.
        parts = [member.figures.lasting() if member.silent else member.figures for member in self._members]
        found = all_together([self._kept, *parts])
        return Figures((*found.families, *self.about_workers()), found.statistics)

    def about_workers(self) -> list[Family]:
        """How many workers there are, and how many were started again."""
        states = Counter("silent" if member.silent else member.state for member in self._members)
        counts = {state: float(states[state]) for state in ("ready", "starting", "silent")}
        found = [gauge("headrace_workers", "Worker processes, by how they stand.", "state", counts)]
        causes = {cause: float(number) for cause, number in self.restarts.items()}
        text = "Worker processes that were started again, by what ended the one before."
        return [*found, counter("headrace_worker_restarts", text, "cause", causes)]

    async def watch(self) -> None:
        """Ask for the numbers again and again, so that little is lost when a worker is killed between scrapes."""
        while True:
            await asyncio.sleep(WATCH_S)
            await asyncio.gather(*map(self._collect, self._members))

    def _tell(self, message: Message) -> None:
        for member in self._members:
            member.line.send(message)

    def _take(self, member: Member, message: Message) -> None:
        if isinstance(message, Announced):
            self._announced(member, message)
        elif isinstance(message, Done):
            self._done(member, message)
        elif isinstance(message, Collect):
            task = asyncio.get_running_loop().create_task(self._answer(member, message.id))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
        elif isinstance(message, Numbers):
            member.figures, member.silent = message.figures, False
            if (waiting := member.collecting.pop(message.id, None)) is not None and not waiting.done():
                waiting.set_result(None)
        else:
            self._stands(member, message)
            self.changed.set()

    def _stands(self, member: Member, message: Message) -> None:
        if isinstance(message, Ready):
            member.ready, member.state = message, "ready"
        elif isinstance(message, Failed):
            member.failed = message
        elif isinstance(message, Ended):
            member.ended, member.figures = message, message.figures

    def _announced(self, member: Member, message: Announced) -> None:
        """Let the others do it. The order in which changes come here is the one that holds for all workers.

        While another change is under way, the one that announces it makes it once more, in its turn: what it did by
        itself may have come before what the others do last.
        """
        change = message.change
        self.wishes = with_wish(self.wishes, change)
        again = bool(self._changes) and change.verb != "reload"
        others = [other for other in self._members if again or other is not member]
        number = next(self._ids)
        # Who is starting still does it too, but nobody waits for that.
        waited_for = {other for other in others if other.state == "ready"}
        self._changes[number] = (member, message.id, waited_for, [])
        for other in others:
            other.line.send(Do(number, change))
        self._finish(number)

    def _done(self, member: Member, message: Done) -> None:
        if message.id in self._changes:
            _, _, waited_for, reasons = self._changes[message.id]
            waited_for.discard(member)
            if message.reason:
                reasons.append(message.reason)
            self._finish(message.id)

    def _finish(self, number: int) -> None:
        member, asked, waited_for, reasons = self._changes[number]
        if not waited_for:
            del self._changes[number]
            member.line.send(Done(asked, "; ".join(dict.fromkeys(reasons))))

    async def _answer(self, member: Member, number: int) -> None:
        member.line.send(Numbers(number, await self.figures()))

    async def _collect(self, member: Member) -> None:
        number = next(self._ids)
        waiting = member.collecting[number] = asyncio.get_running_loop().create_future()
        member.line.send(Collect(number))
        try:
            await asyncio.wait_for(waiting, NUMBERS_S)
        except TimeoutError:
            member.silent = True
        finally:
            member.collecting.pop(number, None)

    def _leave(self, member: Member) -> None:
        self._members.remove(member)
        self._kept = all_together([self._kept, member.figures.lasting()])
        for number in list(self._changes):
            self._changes[number][2].discard(member)  # who takes its place gets the wishes
            self._finish(number)
        for waiting in member.collecting.values():
            if not waiting.done():
                waiting.set_result(None)
        self.changed.set()


def with_wish(wishes: Sequence[Change], change: Change) -> tuple[Change, ...]:
    """*wishes* and *change*, without those that it undoes; what changes nothing for a new worker is no wish."""
    if change.verb not in ("load", "unload"):
        return tuple(wishes)
    over = [wish for wish in wishes if wish.name == change.name and change.version in (None, wish.version)]
    return (*(wish for wish in wishes if wish not in over), change)
