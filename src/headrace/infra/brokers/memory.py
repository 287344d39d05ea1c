"""A broker inside the process: topics in memory, for the demo, the tests and small installations."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from headrace.domain.errors import NotReady, Overloaded
from headrace.domain.ports import Broker, Event, Message

CAPACITY = 100_000
FOLLOWER_CAPACITY = 10_000


@dataclass(slots=True)
class _Group:
    """Where a group stands: what it has been given, and what it is done with."""

    given: int = 0
    committed: int = 0


@dataclass(slots=True)
class _Topic:
    messages: deque[Message] = field(default_factory=deque)
    first: int = 0
    groups: dict[str, _Group] = field(default_factory=dict)
    followers: set[asyncio.Queue[Event | None]] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def end(self) -> int:
        return self.first + len(self.messages)


class MemoryBroker(Broker):
    """Topics of at most *capacity* messages each. What every group has committed is dropped to make room.

    A topic that no group reads keeps its newest messages; one that is read never loses what was not committed.
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] | None = None) -> None:
        """*clock* gives seconds and defaults to the loop's."""
        self._capacity = capacity
        self._clock = clock
        self._topics: dict[str, _Topic] = {}
        self._closed = False

    async def write(self, topic: str, messages: Sequence[Message]) -> None:
        """Append *messages*, all or none. Raises Overloaded when the topic is full of what nobody has committed."""
        self._require_open()
        log = self._topics.setdefault(topic, _Topic())
        self._make_room(log, topic, len(messages))
        for message in messages:
            event = Event(message, log.end)
            log.messages.append(message)
            for follower in log.followers:
                if not follower.full():
                    follower.put_nowait(event)
        log.arrived.set()

    async def read(self, topic: str, group: str, max_events: int, max_wait_s: float) -> Sequence[Event]:
        """The next events for *group*: waits for the first, then for more until *max_events* or *max_wait_s*."""
        log = self._topics.setdefault(topic, _Topic())
        place = log.groups.setdefault(group, _Group(log.first, log.first))
        await self._wait(log, place.given + 1, None)
        now = self._clock or asyncio.get_running_loop().time
        until = now() + max_wait_s
        while not self._closed and log.end < place.given + max_events and (left := until - now()) > 0:
            await self._wait(log, log.end + 1, left)
        start = max(place.given, log.first)
        stop = min(log.end, start + max_events)
        place.given = stop
        return [Event(log.messages[position - log.first], position) for position in range(start, stop)]

    async def commit(self, topic: str, group: str, position: int) -> None:
        """Everything up to *position* is done with."""
        place = self._topics[topic].groups[group]
        place.committed = max(place.committed, position + 1)

    def rewind(self, topic: str, group: str) -> None:
        """Let the next read of *group* begin with what it has not committed, as after a restart."""
        if (log := self._topics.get(topic)) and (place := log.groups.get(group)):
            place.given = place.committed

    def lag(self, topic: str, group: str) -> int:
        """How many messages *group* has not committed."""
        log = self._topics.get(topic)
        place = log.groups.get(group) if log else None
        return 0 if log is None else log.end - (place.committed if place else log.first)

    def follow(self, topic: str) -> AsyncGenerator[Event]:
        """Events from this call on; a reader that falls `FOLLOWER_CAPACITY` behind misses some."""
        self._require_open()
        log = self._topics.setdefault(topic, _Topic())
        queue: asyncio.Queue[Event | None] = asyncio.Queue(FOLLOWER_CAPACITY)
        log.followers.add(queue)
        return _followed(queue, log)

    async def close(self) -> None:
        """Let go; readers that wait get nothing."""
        self._closed = True
        for log in self._topics.values():
            log.arrived.set()
            for follower in log.followers:
                if follower.full():
                    follower.get_nowait()
                follower.put_nowait(None)

    async def _wait(self, log: _Topic, end: int, seconds: float | None) -> None:
        """Until the topic reaches *end*, time is up, or the broker closes."""
        while log.end < end and not self._closed:
            log.arrived.clear()
            try:
                await asyncio.wait_for(log.arrived.wait(), seconds)
            except TimeoutError:
                return

    def _make_room(self, log: _Topic, topic: str, wanted: int) -> None:
        excess = len(log.messages) + wanted - self._capacity
        if excess <= 0:
            return
        done = min((place.committed for place in log.groups.values()), default=log.end) - log.first
        if excess > done:
            raise Overloaded(f"topic {topic!r} holds {len(log.messages)} messages that nobody has dealt with yet")
        for _ in range(excess):
            log.messages.popleft()
        log.first += excess

    def _require_open(self) -> None:
        if self._closed:
            raise NotReady("the broker is closed")


async def _followed(queue: asyncio.Queue[Event | None], log: _Topic) -> AsyncGenerator[Event]:
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        log.followers.discard(queue)
