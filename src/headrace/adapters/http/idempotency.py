"""``Idempotency-Key``: how is the answer of a call that may come twice kept under its key, and given again?"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headrace.adapters.http.body import read_body
from headrace.adapters.http.call import JSON, Call, Message
from headrace.adapters.http.departures import Departures
from headrace.adapters.keyed import LARGEST_KEPT, WAIT_S, digest, key_of, shown_by, spent
from headrace.domain.ports import KeptAnswer
from headrace.services.idempotency import Idempotency

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotent-replayed", b"true")

Answer = Callable[[Call], Awaitable[Any]]

_BOUNDARY: Final = re.compile(rb'boundary="?([^";,\s]+)')
_OF_THIS_ANSWER: Final = (b"content-type", b"content-length", b"x-request-id", b"connection", b"vary")
"""Headers that are made anew for whoever gets the answer, as are those that begin with ``access-control-``."""


class KeyedCalls:
    """Answers calls that carry an ``Idempotency-Key``; others never come here."""

    def __init__(self, idempotency: Idempotency, departures: Departures, max_body: int) -> None:
        self._idempotency = idempotency
        self._departures = departures
        self._max_body = max_body

    async def answer(self, call: Call, found: Answer) -> None:
        """Answer *call* by *found*, or as it was answered before; it is given up when the client leaves.

        Raises InvalidRequest for a key that is none.
        """
        await self._once(call, found, self._departures.join)

    async def finish(self, call: Call, found: Answer) -> None:
        """The same for what goes on without the client: models that are half loaded help nobody."""
        await self._once(call, found, lambda _: None)

    async def _once(self, call: Call, found: Answer, watch: Callable[[Call], None]) -> None:
        key = _key(call)
        deadline = call.deadline() or time.monotonic() + WAIT_S
        body = await _raw_body(call, self._max_body)
        watch(call)
        recording = _Recording(call, body)
        answer, replayed = await self._idempotency.once(
            key, _fingerprint(call, body), deadline, lambda: recording.of(found)
        )
        if recording.streamed:
            return
        if answer.body is None:
            if replayed:
                raise spent()
            answer = recording.whole
        await _give(call, answer, replayed=replayed)


class _Recording:
    """Runs a call and keeps its answer from leaving; one that is streamed leaves as it comes."""

    def __init__(self, call: Call, body: bytes) -> None:
        self.streamed = False
        self.whole = KeptAnswer(500, (), b"")
        self._call = call
        self._body: bytes | None = body
        self._receive, self._send = call.receive, call.send
        self._begun: Message | None = None

    async def of(self, found: Answer) -> KeptAnswer:
        """What *found* answers, without the body if that cannot be kept."""
        call = self._call
        packs = call.packs
        call.receive, call.send, call.reply, call.packs = self._received, self._sent, None, False
        try:
            await found(call)
        finally:
            call.receive, call.send, call.packs = self._receive, self._send, packs
            call.started = self.streamed
        if self.streamed or len(self.whole.body or b"") > LARGEST_KEPT:
            return KeptAnswer(self.whole.status, self.whole.headers, None)
        return self.whole

    async def _received(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = message
            return
        if (begun := self._begun) is not None:
            self._begun = None
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun["headers"]]
            self.whole = KeptAnswer(begun["status"], headers, message.get("body", b""))
            if not message.get("more_body", False):
                return
            self.streamed = True
            await self._send(begun)
        if self.streamed:
            await self._send(message)


async def _give(call: Call, answer: KeptAnswer, *, replayed: bool) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    media = next((value for name, value in headers if name == b"content-type"), JSON)
    extra = [
        (name, value)
        for name, value in headers
        if name not in _OF_THIS_ANSWER and not name.startswith(b"access-control-")
    ]
    if replayed:
        extra.append(REPLAYED)
    call.uncounted = False
    await call.answer(answer.body or b"", answer.status, media, extra)


async def _raw_body(call: Call, limit: int) -> bytes:
    """The body as it was sent, still packed: whoever answers unpacks it."""
    encoding = call.headers.pop(b"content-encoding", None)
    try:
        return await read_body(call, limit)
    finally:
        if encoding is not None:
            call.headers[b"content-encoding"] = encoding


def _key(call: Call) -> str:
    shown = shown_by(call.headers.get(b"x-api-key"), call.headers.get(b"authorization"))
    return key_of(call.headers[HEADER], shown, call.path.encode())


def _fingerprint(call: Call, body: bytes) -> str:
    """What two requests must share to be the same: not a form's boundary, which clients make anew each time."""
    media = call.headers.get(b"content-type", b"")
    boundary = _BOUNDARY.search(media)
    if boundary is not None:
        media, body = media.replace(boundary[1], b""), body.replace(boundary[1], b"")
    return digest(call.scope["query_string"], media, body)
