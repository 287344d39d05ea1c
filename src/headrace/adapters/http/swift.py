"""A shorter way for the few hot calls: the same ASGI function, without a task, an event and two writes for each.

uvicorn gives every request a task, a cycle with queues of its own, and writes head and body apart. A request whose
small body is there as a whole needs none of that: the function runs at once, up to where it waits for its batch, goes
on when the batch is done, and the answer leaves in one write. Keep-alive, pipelining, limits and shutdown stay
uvicorn's, and every other request takes its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextvars import Context, copy_context
from http import HTTPStatus
from typing import Any, Final

from headrace.adapters.http.call import Message, Scope
from headrace.core.logging import logger

LARGEST_BODY: Final = 65_536
"""Bytes that are gathered before the call starts; what is longer is read by the call itself, as it comes."""
SLOW_HEADERS: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"idempotency-key", b"upgrade"})
"""With one of these a request goes the normal way."""
CALLER: Final = "headrace.caller"
"""The key of the scope under which a swift cycle stands in for the task that there is not."""

_STATUS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

log = logger(__name__)


class _Written:
    """The headers that every answer has (the date, above all) as bytes: they change once a second."""

    headers: Sequence[tuple[bytes, bytes]] = ()
    text = b""


def _written(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    if headers is not _Written.headers:
        _Written.headers = headers
        _Written.text = b"".join(b"%b: %b\r\n" % header for header in headers)
    return _Written.text


def is_hot(target: bytes) -> bool:
    """Whether the request target is a call that is worth it, and that needs no task."""
    return target.endswith((b"/infer", b"/predict")) or target in (b"/api/v1/inference", b"/v1/embeddings")


class Swift:
    """One request on the shorter way. To uvicorn's protocol it looks like one of its cycles.

    The coroutine of the application is driven by hand: each future that it waits for calls it back.
    """

    __slots__ = (
        "_context", "_coroutine", "_defaults", "_head", "_on_response", "_waiter", "_waits_for", "body",
        "disconnected", "keep_alive", "more_body", "response_complete", "scope", "transport",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        transport: Any,
        default_headers: Sequence[tuple[bytes, bytes]],
        on_response: Callable[[], None],
        *,
        keep_alive: bool,
    ) -> None:
        self.scope = scope
        self.transport = transport
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = keep_alive
        self._defaults = default_headers
        self._on_response = on_response
        self._head = b""
        self._waiter: asyncio.Future[None] | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._coroutine: Generator[Any, Any, Any] | None = None
        self._context: Context | None = None

    @property
    def message_event(self) -> Swift:
        """What uvicorn sets when there is something to receive."""
        return self

    def set(self) -> None:
        """Something has come: the rest of the body, or the end of the connection."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def start(self, app: Callable[..., Any]) -> None:
        """The body is here: run *app* until it waits for something."""
        self.scope[CALLER] = self
        self._context = copy_context()
        self._coroutine = app(self.scope, self.receive, self.send).__await__()
        self._step()

    def cancel(self, *_: object) -> bool:
        """Stop what waits, as `asyncio.Task.cancel` does."""
        return self._waits_for is not None and self._waits_for.cancel()

    async def receive(self) -> Message:
        """The whole body, and then nothing until the connection ends."""
        if self.more_body:
            self.more_body = False
            return {"type": "http.request", "body": self.body, "more_body": False}
        if not (self.disconnected or self.response_complete):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Keep the head until the body is there, and write both at once."""
        if message["type"] == "http.response.start":
            self._head = self._headed(message["status"], message["headers"])
            return
        if self.disconnected or self.response_complete:
            return
        self.transport.write(self._head + message.get("body", b""))
        self._head = b""
        if not message.get("more_body", False):
            self._complete()

    def reply(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """The whole answer at once: what two messages to `send` would do."""
        if not (self.disconnected or self.response_complete):
            self.transport.write(self._headed(status, headers) + body)
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.set()
        if not self.keep_alive:
            self.transport.close()
        self._on_response()

    def _headed(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        closing = not self.keep_alive
        parts = [_STATUS[status], _written(self._defaults)]
        for name, value in headers:
            if name == b"connection" and value == b"close":
                closing = True
                continue
            parts += (name, b": ", value, b"\r\n")
        if closing:
            self.keep_alive = False
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _step(self, _: object = None) -> None:
        """Go on with the application until it waits again or is done."""
        self._waits_for = None
        assert self._coroutine is not None and self._context is not None
        try:
            waits_for = self._context.run(self._coroutine.send, None)
        except StopIteration:
            self._let_go()
            return
        except BaseException as error:  # the application answers its own failures; this one is ours
            self._let_go()
            log.error("a request ended without an answer", exc_info=error)
            self.transport.close()
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise
            return
        if waits_for is None:  # it only let others go first
            asyncio.get_running_loop().call_soon(self._step)
            return
        waits_for._asyncio_future_blocking = False
        self._waits_for = waits_for
        waits_for.add_done_callback(self._step)

    def _let_go(self) -> None:
        """The application is done: hold nothing that holds this, or only the collector could free it."""
        del self.scope[CALLER]
        self._coroutine = None
        self._context = None
