"""``POST streams/{name}/events`` and ``GET streams/{name}/results``: events into a stream, and its answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headrace.adapters.disclosure import public_text
from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.adapters.http.departures import Departures
from headrace.adapters.http.event_stream import EventStream
from headrace.adapters.http.health import HealthCalls
from headrace.adapters.http.native import success
from headrace.domain.errors import InvalidRequest, NotFound, NotReady, Overloaded, TooLarge
from headrace.services.streams import Stream, Streams

MAX_EVENTS: Final = 10_000
"""Events that one call may bring."""
FOLLOWERS: Final = 256
"""Callers that may follow results at the same time."""
HEARTBEAT_S: Final = 15.0
"""How long a follower hears nothing at most: proxies end connections on which nothing comes."""

Event = dict[str, msgspec.Raw]
_EVENTS: Final = msgspec.json.Decoder(list[Event] | Event)
_LISTED: Final = msgspec.json.Decoder(list[Event])


class StreamCalls:
    """Answers the calls that carry events and results."""

    def __init__(self, streams: Streams | None, health: HealthCalls, departures: Departures, max_body: int) -> None:
        self.max_body = max_body
        self.stopping = asyncio.Event()
        """Set when the server stops: who follows or waits is told, and nothing new is begun."""
        self._streams = streams
        self._health = health
        self._departures = departures
        self._following = 0

    def all(self) -> Sequence[Stream]:
        """Every stream, by name."""
        return list(self._streams or ())

    def find(self, name: str) -> Stream:
        """The stream *name*. Raises NotFound, or NotReady while the server is starting."""
        try:
            if self._streams is None:
                raise NotFound(f"no stream {name!r}; there are: none")
            return self._streams.get(name)
        except NotFound:
            if self._health.ready or self.stopping.is_set():
                raise
            raise NotReady("the server is starting, and its streams begin when the pipelines are loaded") from None

    def stop(self) -> None:
        """Let followers go, and let windows wait no more for company."""
        self.stopping.set()
        for stream in self._streams or ():
            stream.hurry()

    async def publish(self, call: Call, name: str) -> None:
        """``POST streams/{name}/events``: one object, a list of them, or ``{"events": [..]}``; all or none."""
        require_json(call)
        stream = self.find(name)
        events = events_in(await read_body(call, self.max_body))
        headers = {"traceparent": given.decode("latin-1")} if (given := call.headers.get(b"traceparent")) else {}
        accepted = await stream.publish(events, headers)
        await call.answer_json(success(call, {"stream": name, "accepted": accepted}), 202)

    async def results(self, call: Call, name: str) -> None:
        """``GET streams/{name}/results``: what is written from now on, as server-sent events."""
        stream = self.find(name)
        if self._following >= FOLLOWERS:
            raise Overloaded(f"{FOLLOWERS} callers follow results already")
        self._following += 1
        try:
            self._departures.join(call)
            await self._follow(stream, EventStream(call))
        finally:
            self._following -= 1

    async def socket(self, call: Call, name: str) -> None:
        """``GET streams/{name}/ws`` without an upgrade: says what is missing."""
        self.find(name)
        raise InvalidRequest("this path answers a WebSocket; open it with one: ws://...")

    async def _follow(self, stream: Stream, out: EventStream) -> None:
        loop = asyncio.get_running_loop()
        following = stream.results()
        stopping: asyncio.Task[Any] = loop.create_task(self.stopping.wait())
        coming: asyncio.Task[Any] = loop.create_task(_next(following))
        try:
            await out.write(b": following\n\n")  # the caller learns at once that it is heard
            while not self.stopping.is_set():
                await asyncio.wait({coming, stopping}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done() and not stopping.done():
                    await out.write(b": \n\n")
                elif not coming.done() or (message := coming.result()) is None:
                    break
                else:
                    coming = loop.create_task(_next(following))
                    await out.write(as_event(message.value))
            await out.end()
        finally:
            for task in (coming, stopping):
                task.cancel()
            await asyncio.gather(coming, stopping, return_exceptions=True)
            await following.aclose()


async def _next(following: Any) -> Any:
    return await anext(following, None)


def events_in(body: bytes) -> Sequence[Event]:
    """The events of a body. Raises InvalidRequest unless each is an object, TooLarge for more than `MAX_EVENTS`."""
    given = decode(body, _EVENTS, ())
    events: Sequence[Event] = given if isinstance(given, list) else [given]
    if isinstance(given, dict) and given.keys() == {"events"} and bytes(given["events"])[:1] == b"[":
        listed: list[Event] = decode(bytes(given["events"]), _LISTED, ())
        events = listed
    if not events:
        raise InvalidRequest('there is no event; send one object, a list of them, or {"events": [..]}')
    if len(events) > MAX_EVENTS:
        raise TooLarge(f"one call may bring {MAX_EVENTS} events, and {len(events)} came")
    return events


def as_event(value: bytes) -> bytes:
    """A message of a stream as a server-sent event: ``result`` or ``dead_letter``."""
    kind = b"dead_letter" if is_dead_letter(value) else b"result"
    return b"event: " + kind + b"\ndata: " + public_answer(value) + b"\n\n"


def is_dead_letter(value: bytes) -> bool:
    """Whether a message that a stream wrote tells of a failure."""
    return value.startswith(b'{"error"')


def public_answer(value: bytes) -> bytes:
    """A message of a stream as callers may read it: what a model raised may name paths of this machine."""
    if not is_dead_letter(value):
        return value
    letter = msgspec.json.decode(value)
    error = letter["error"]
    error["message"] = public_text(error["message"], error["code"])
    return msgspec.json.encode(letter)
