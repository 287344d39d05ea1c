"""A shorter way for the few hot calls: the same ASGI function, without a task, an event and two writes for each.

uvicorn gives every request a task, a cycle with queues of its own, and writes head and body apart. A request whose
small body is there as a whole needs none of that: the function runs at once, up to where it waits for its batch, goes
on when the batch is done, and the answer leaves in one write. Keep-alive, pipelining, limits and shutdown stay
uvicorn's, and every other request takes its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any, Final

from headrace.adapters.http.call import Message, Scope
from headrace.adapters.http.cycle import Cycle, HeaderPairs
from headrace.core.logging import logger
from headrace.services.choice import Choice

SLOW_HEADERS: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"idempotency-key", b"upgrade"})
"""With one of these a request goes the normal way."""
CALLER: Final = "headrace.caller"
"""The key of the scope under which a swift cycle stands in for the task that there is not."""

log = logger(__name__)


def is_hot(target: bytes) -> bool:
    """Whether the request target is a call that is worth it, and that needs no task."""
    if target in (b"/api/v1/inference", b"/v1/embeddings"):
        return True
    return (
        target.endswith((b"/infer", b"/predict")) and target[:1] == b"/" and b"?" not in target and b"#" not in target
    )


class Swift(Cycle):
    """One request on the shorter way.

    The coroutine of the application is driven by hand: each future that it waits for calls it back.
    """

    __slots__ = ("_context", "_coroutine", "_head", "_waiter", "_waits_for", "choice", "scope")

    def __init__(
        self,
        scope: Scope,
        transport: Any,
        default_headers: HeaderPairs,
        on_response: Callable[[], None],
        *,
        keep_alive: bool,
    ) -> None:
        super().__init__(transport, default_headers, on_response, keep_alive=keep_alive)
        self.scope = scope
        self.choice: Choice | None = None
        """What answers the request, if a shorter way chose it and went no further."""
        self._head = b""
        self._waiter: asyncio.Future[None] | None = None
        self._waits_for: asyncio.Future[Any] | None = None
        self._coroutine: Generator[Any, Any, Any] | None = None
        self._context: Context | None = None

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
            self._head = self.headed(message["status"], message["headers"])
            return
        if self.disconnected or self.response_complete:
            return
        self.transport.write(self._head + message.get("body", b""))
        self._head = b""
        if not message.get("more_body", False):
            self.complete()

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
