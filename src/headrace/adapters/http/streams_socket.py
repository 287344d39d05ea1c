"""``WS streams/{name}/ws``: events come in as text frames, and each one's answer goes back to who sent it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from headrace.adapters.http.body import decode
from headrace.adapters.http.call import Receive, Send
from headrace.adapters.http.errors import shown
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.streams_events import Event, StreamCalls, public_answer
from headrace.adapters.http.streams_replies import EVENT_ID, REPLY_TO, Replies
from headrace.domain.errors import EngineError, InvalidRequest, NotReady, Overloaded
from headrace.domain.ports import Message
from headrace.services.streams import Stream

UNANSWERED: Final = 256
"""Events of one connection that may wait for their answers; while there are as many, no more are read."""
PATIENCE_S: Final = 5.0
"""How long reading pauses at most, for whoever reads nothing answers no ping either; then events are refused."""
MAX_ID: Final = 128
GOING_AWAY: Final = 1001

_EVENT: Final = msgspec.json.Decoder(Event)


class Connection:
    """One accepted WebSocket. *who* tells its events from those of others; *admit* raises once it may send no more."""

    def __init__(
        self,
        who: str,
        name: str,
        calls: StreamCalls,
        replies: Replies,
        receive: Receive,
        send: Send,
        admit: Callable[[], object],
    ) -> None:
        self._who = who
        self._name = name
        self._calls = calls
        self._replies = replies
        self._receive = receive
        self._send = send
        self._admit = admit
        self._numbers = 0
        self._waiting: dict[str, bytes] = {}  # the client's own id, as it wrote it, by the number of its event
        self._room = asyncio.Semaphore(UNANSWERED)
        self._answers: asyncio.Queue[Message] = asyncio.Queue()  # holds no more than what waits
        self._answered = asyncio.Event()
        self._streams: set[Stream] = set()

    async def run(self) -> None:
        """Work until the client leaves, or until the server stops and every event has its answer."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[Any]] = [loop.create_task(work) for work in (self._read(), self._write())]
        stopping = loop.create_task(self._calls.stopping.wait())
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not any(task.done() for task in tasks):
                tasks.append(loop.create_task(self._until_answered()))
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await self._send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the server is stopping"})
            for task in tasks:
                if task.done():
                    task.result()
        except OSError:
            pass  # the client has left
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            for stream in self._streams:
                self._replies.leave(stream, self._who)

    async def _read(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            frame = message.get("bytes") or (message.get("text") or "").encode()
            given = b""
            try:
                event = decode(frame, _EVENT, ())
                stream = self._calls.find(self._name)
                given = _id_of(event, stream)
                self._admit()  # a key may have been revoked since the connection was opened
                await self._publish(stream, event, given)
            except EngineError as error:
                await self._say(to_json({"error": shown(error)}), given)

    async def _publish(self, stream: Stream, event: Event, given: bytes) -> None:
        if self._calls.stopping.is_set():
            raise NotReady("the server is stopping")
        if stream not in self._streams:
            self._replies.join(stream, self._who, self._deliver)
            self._streams.add(stream)
        await self._wait_for_room()
        self._numbers += 1
        number = str(self._numbers)
        self._waiting[number] = given
        try:
            await stream.publish([event], {REPLY_TO: self._who, EVENT_ID: number})
        except EngineError:
            self._done(number)
            raise

    async def _wait_for_room(self) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            await asyncio.wait_for(self._room.acquire(), PATIENCE_S)
        except TimeoutError:
            raise Overloaded(f"{UNANSWERED} events of this connection wait for their answers already") from None

    def _deliver(self, message: Message) -> None:
        # At least once is what a stream promises: the second answer to an event is not for the client.
        if message.headers.get(EVENT_ID, "") in self._waiting:
            self._answers.put_nowait(message)

    async def _write(self) -> None:
        while True:
            message = await self._answers.get()
            number = message.headers[EVENT_ID]
            if (given := self._waiting.get(number)) is not None:
                await self._say(public_answer(message.value), given)
                self._done(number)

    def _done(self, number: str) -> None:
        del self._waiting[number]
        self._room.release()
        if not self._waiting:
            self._answered.set()

    async def _until_answered(self) -> None:
        while self._waiting:
            self._answered.clear()
            await self._answered.wait()

    async def _say(self, answer: bytes, given: bytes) -> None:
        """Send the object *answer*, with the client's own id in it if there is one."""
        if given:
            answer = b'{"id":' + given + b"," + answer[1:]
        await self._send({"type": "websocket.send", "text": answer.decode()})


def _id_of(event: Event, stream: Stream) -> bytes:
    """The client's ``id`` as it wrote it; it is taken out unless the pipeline has an input of that name."""
    if "id" not in event:
        return b""
    given = bytes(event["id"] if stream.takes("id") else event.pop("id")).strip()
    if given[:1] in (b"{", b"[") or len(given) > MAX_ID or not given.isascii():
        raise InvalidRequest(f"the id of an event is a text or a number of at most {MAX_ID} ASCII characters")
    return given
