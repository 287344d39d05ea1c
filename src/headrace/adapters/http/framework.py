"""How is FastAPI reached? It is imported and built when first needed, and bounded like every other call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headrace.adapters.http.body import too_large
from headrace.adapters.http.call import Call, Message, Receive, Send

Application = Callable[[Any, Receive, Send], Awaitable[None]]
CALL: Final = "headrace.call"
"""Where handlers find the `Call` in their scope."""


class Framework:
    """The application that carries and documents what is not hot; *build* takes about a second and runs once."""

    def __init__(self, build: Callable[[], Application], max_body: int) -> None:
        self._build = build
        self._max_body = max_body
        self._application: Application | None = None
        self._building = asyncio.Lock()

    async def prepare(self) -> Application:
        """Build the application off the loop unless it is there."""
        if self._application is None:
            async with self._building:
                if self._application is None:
                    self._application = await asyncio.to_thread(self._build)
        return self._application

    async def answer(self, call: Call) -> None:
        """Let the application answer *call*."""
        application = await self.prepare()
        declared = call.headers.get(b"content-length")
        if declared is not None and int(declared) > self._max_body:
            raise too_large(call, self._max_body, f"{int(declared)} bytes were announced")
        call.scope[CALL] = call
        outgoing = _Outgoing(call)
        await application(call.scope, self._bounded(call), outgoing.send)

    def _bounded(self, call: Call) -> Receive:
        receive, size = call.receive, 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body:
                raise too_large(call, self._max_body, f"more than {self._max_body} bytes came")
            return message

        call.receive = bounded
        return bounded


class _Outgoing:
    """Adds to the answers of the application what every answer has; whole ones go the way of our own."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._begun: Message | None = None

    async def send(self, message: Message) -> None:
        call = self._call
        if message["type"] == "http.response.start":
            self._begun = message
            return
        if (begun := self._begun) is None:
            await call.send(message)
            return
        self._begun = None
        headers = list(begun["headers"])
        if not message.get("more_body"):
            own = (b"content-type", b"content-length")
            media = next((value for name, value in headers if name.lower() == b"content-type"), b"")
            extra = [(name, value) for name, value in headers if name.lower() not in own]
            await call.answer(message.get("body", b""), begun["status"], media, extra)
            return
        headers.append((b"x-request-id", call.request_id.encode("ascii")))
        call.add_common(headers)
        call.started = True
        await call.send({**begun, "headers": headers})
        await call.send(message)


def call_of(scope: Any) -> Call:
    """The `Call` that a handler of the application answers."""
    found: Call = scope[CALL]
    return found
