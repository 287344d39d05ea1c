"""How does an answer leave in pieces? As server-sent events, begun with the first one."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from headrace.adapters.http.call import Call, ClientLeft, HeaderList
from headrace.adapters.http.rendering import to_json

STALL_S: Final = 30.0
"""How long a client may read nothing; the stream then ends, since what writes it holds a place meanwhile."""
LATE_S: Final = 1.0
"""The same when the time of the answer is over: enough to tell of that to a client that reads."""
DONE: Final = b"data: [DONE]\n\n"


class EventStream:
    """The answer to *call* as events. Nothing is sent before the first, so that a failure until then has its status."""

    def __init__(self, call: Call, stall_s: float = STALL_S) -> None:
        self._call = call
        self._stall_s = stall_s
        self._deadline: float | None = None

    def keep_to(self, deadline: float | None, timeout_s: float) -> None:
        """What is written from now on belongs to an answer that has until *deadline*, or *timeout_s* without one."""
        self._deadline = time.monotonic() + timeout_s if deadline is None else deadline

    async def send(self, content: Any) -> None:
        """One event with *content* as JSON. Raises ClientLeft for a client that has long stopped reading."""
        await self._write(b"data: " + to_json(content) + b"\n\n", more=True)

    async def write(self, event: bytes) -> None:
        """One event as it stands. Raises ClientLeft likewise."""
        await self._write(event, more=True)

    async def end(self, last: bytes = b"") -> None:
        """End the answer after *last*."""
        await self._write(last, more=False)
        self._call.answered = True

    async def _write(self, body: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(self._patience_s()):
                if not self._call.started:
                    await self._start()
                await self._call.send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise ClientLeft from None

    def _patience_s(self) -> float:
        if self._deadline is None:
            return self._stall_s
        return min(self._stall_s, max(LATE_S, self._deadline - time.monotonic()))

    async def _start(self) -> None:
        call = self._call
        headers: HeaderList = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # proxies must not wait until there is more
            (b"x-request-id", call.request_id.encode("ascii")),
        ]
        call.add_common(headers)
        call.started = True
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
