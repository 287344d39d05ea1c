"""Do workers stay in step, do their numbers add up, and does one that dies leave no hole?"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from headrace.core.families import Family, Sample
from headrace.domain.errors import DependencyFailure, NotFound
from headrace.services.crew import Crew, Member, with_wish
from headrace.services.siblings import Siblings
from headrace.services.statistics import Statistics
from headrace.services.worker_messages import Change, Figures, Line, Ready

LOAD = Change("load", "digits")
UNLOAD = Change("unload", "digits")


@dataclass
class Worker:
    """A worker without a server: *made* are the changes that it was told to make."""

    siblings: Siblings
    stop: asyncio.Event
    member: Member
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Change] = field(default_factory=list)
    count: float = 0
    refuses: bool = False
    before: Callable[[], Awaitable[None]] | None = None
    listening: "asyncio.Task[None] | None" = None
    attending: "asyncio.Task[None] | None" = None

    async def make(self, change: Change) -> None:
        if self.before is not None:
            await self.before()
        if self.refuses:
            raise NotFound("no such pipeline")
        self.made.append(change)

    def read(self) -> Figures:
        running = Family("gauge", "headrace_in_flight", "", (), (Sample((), 1.0),))
        answered = Family("counter", "headrace_requests", "", (), (Sample((), self.count),))
        return Figures((answered, running), (Statistics("digits", "1", inference_count=int(self.count)),))

    async def die(self) -> None:
        """End as a process does that is killed."""
        assert self.listening is not None
        assert self.attending is not None
        self.listening.cancel()
        await self.siblings.close()
        await self.attending


@asynccontextmanager
async def crew_of(count: int) -> AsyncIterator[tuple[Crew, list[Worker]]]:
    crew = Crew()
    workers = [await worker_in(crew, number) for number in range(1, count + 1)]
    try:
        yield crew, workers
    finally:
        for worker in workers:
            assert worker.listening is not None
            assert worker.attending is not None
            await worker.siblings.close()
            await worker.member.line.close()
            await asyncio.gather(worker.listening, worker.attending, return_exceptions=True)


async def worker_in(crew: Crew, number: int) -> Worker:
    ours, theirs = socket.socketpair()
    member = Member(number, await Line.over(ours))
    worker = Worker(Siblings(await Line.over(theirs), number, 2), asyncio.Event(), member)
    worker.siblings.join({"load": worker.make, "unload": worker.make, "reload": worker.make}, worker.read)
    crew.join(member)
    worker.attending = asyncio.create_task(crew.attend(member))
    worker.listening = asyncio.create_task(worker.siblings.listen(worker.stop, worker.opened.set))
    worker.siblings.ready(["digits@1"], [])
    while member.ready is None:
        await crew.changed.wait()
        crew.changed.clear()
    return worker


def total(found: Figures, name: str) -> float:
    return next(family for family in found.families if family.name == name).samples[0].value


async def test_a_change_has_reached_all_others_when_its_announcement_returns() -> None:
    async with crew_of(3) as (_, (one, two, three)):
        await one.siblings.announce("unload", "digits")

        assert (one.made, two.made, three.made) == ([], [UNLOAD], [UNLOAD])


async def test_who_follows_announces_nothing() -> None:
    async with crew_of(2) as (_, (one, two)):

        async def announce_again() -> None:
            await two.siblings.announce("unload", "digits")

        two.before = announce_again
        await asyncio.wait_for(one.siblings.announce("unload", "digits"), 5)

        assert (one.made, two.made) == ([], [UNLOAD])


async def test_two_changes_at_once_end_alike_everywhere() -> None:
    async with crew_of(2) as (_, (one, two)):
        one.made.append(LOAD)
        two.made.append(UNLOAD)

        await asyncio.gather(one.siblings.announce("load", "digits"), two.siblings.announce("unload", "digits"))
        await asyncio.gather(one.siblings.figures(), two.siblings.figures())

        assert one.made[-1] == two.made[-1]


async def test_a_change_that_fails_elsewhere_is_told_to_whoever_made_it() -> None:
    async with crew_of(2) as (_, (one, two)):
        two.refuses = True

        with pytest.raises(DependencyFailure, match="no such pipeline"):
            await one.siblings.announce("load", "digits")


async def test_a_worker_that_dies_meanwhile_is_not_waited_for() -> None:
    async with crew_of(3) as (_, (one, two, three)):
        asked = asyncio.Event()

        async def hang() -> None:
            asked.set()
            await asyncio.Event().wait()

        three.before = hang
        announcing = asyncio.create_task(one.siblings.announce("unload", "digits"))
        await asked.wait()
        await three.die()
        await asyncio.wait_for(announcing, 5)

        assert two.made == [UNLOAD]


async def test_numbers_of_all_workers_add_up_at_each() -> None:
    async with crew_of(2) as (_, (one, two)):
        one.count, two.count = 3, 4

        assert total(await one.siblings.figures(), "headrace_requests") == 7
        assert total(await two.siblings.figures(), "headrace_in_flight") == 2


async def test_what_a_dead_worker_counted_stays_and_what_it_had_under_way_goes() -> None:
    async with crew_of(2) as (_, (one, two)):
        one.count, two.count = 3, 4
        await one.siblings.figures()
        await two.die()

        found = await one.siblings.figures()

        assert total(found, "headrace_requests") == 7
        assert total(found, "headrace_in_flight") == 1
        assert [told.inference_count for told in found.statistics] == [7]


async def test_a_worker_that_tells_nothing_in_time_is_said_so_and_no_total_falls() -> None:
    async with crew_of(2) as (crew, (one, two)):
        one.count, two.count = 3, 4
        await one.siblings.figures()
        assert two.listening is not None
        two.listening.cancel()  # as if its loop stood still

        found = await one.siblings.figures()

        states = next(family for family in found.families if family.name == "headrace_workers")
        assert total(found, "headrace_requests") == 7
        assert {sample.labels: sample.value for sample in states.samples} == {
            ("ready",): 1.0,
            ("starting",): 0.0,
            ("silent",): 1.0,
        }
        assert sum(1 for _ in crew) == 2


async def test_a_worker_stops_when_its_supervisor_is_gone() -> None:
    async with crew_of(1) as (_, (one,)):
        await one.member.line.close()

        await asyncio.wait_for(one.stop.wait(), 5)


async def test_all_are_told_to_open_and_to_stop() -> None:
    async with crew_of(2) as (crew, workers):
        crew.open()
        await asyncio.wait_for(asyncio.gather(*(worker.opened.wait() for worker in workers)), 5)
        crew.stop()
        await asyncio.wait_for(asyncio.gather(*(worker.stop.wait() for worker in workers)), 5)


def test_a_wish_replaces_those_that_it_undoes() -> None:
    one = Change("unload", "digits", "1")
    other = Change("unload", "reviews")

    assert with_wish((one, other), UNLOAD) == (other, UNLOAD)
    assert with_wish((UNLOAD,), one) == (UNLOAD, one)
    assert with_wish((one,), Change("load", "digits", "1")) == (Change("load", "digits", "1"),)


def test_a_reload_is_no_wish() -> None:
    assert with_wish((UNLOAD,), Change("reload", "digits")) == (UNLOAD,)


def test_messages_survive_the_line() -> None:
    async def told() -> object:
        ours, theirs = socket.socketpair()
        one, two = await Line.over(ours), await Line.over(theirs)
        one.send(Ready(("a@1",), ("s",)))
        found = await two.receive()
        await one.close()
        assert await two.receive() is None
        await two.close()
        return found

    assert asyncio.run(told()) == Ready(("a@1",), ("s",))
