"""Who may open a WebSocket, where does it lead, and how is it refused?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.call import JSON, Receive, Scope, Send
from headrace.adapters.http.caller import Doorkeeper
from headrace.adapters.http.errors import failure_at, headers_at, status_of
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.streams_events import StreamCalls
from headrace.adapters.http.streams_replies import Replies
from headrace.adapters.http.streams_socket import Connection
from headrace.core.logging import logger
from headrace.domain.errors import EngineError, Internal, NotFound, NotReady, Overloaded

log = logger(__name__)

CONNECTIONS: Final = 1000
"""WebSockets that may be open at the same time."""
PROTOCOL: Final = "headrace"
BEARER: Final = "bearer."
"""How a browser, which cannot set headers here, sends the token: as a further subprotocol."""
FAULT: Final = 1011


class Sockets:
    """Answers WebSocket connections."""

    def __init__(self, calls: StreamCalls, doorkeeper: Doorkeeper) -> None:
        self._calls = calls
        self._doorkeeper = doorkeeper
        self._replies = Replies()
        self._open = 0
        self._all_closed = asyncio.Event()

    async def answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """Accept or refuse a connection, and carry it until it ends."""
        await receive()
        # As for a call that computes: no web page but those that are allowed may open one in a visitor's browser.
        admit = partial(self._doorkeeper.admit, "POST", scope["path"], _headers(scope))
        try:
            admit()
            name = self._found(scope)
        except Exception as error:
            meaning = meaning_of(error)
            if isinstance(meaning, Internal):
                log.error("a WebSocket could not be opened", path=scope["path"], exc_info=error)
            await _refuse(scope, send, meaning, request_id)
            return
        self._open += 1
        try:
            chosen = PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None
            headers = [(b"x-request-id", request_id.encode("ascii"))]
            await send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
            await Connection(request_id, name, self._calls, self._replies, receive, send, admit).run()
        except OSError:
            pass  # the client left before it was let in
        except Exception as error:
            log.error("a WebSocket failed", path=scope["path"], exc_info=error)
            await send({"type": "websocket.close", "code": FAULT, "reason": "a fault of the server"})
        finally:
            self._open -= 1
            if not self._open:
                self._all_closed.set()

    async def closed(self, limit_s: float) -> None:
        """Wait until those who wait for answers have them, at most *limit_s*."""
        while self._open and limit_s > 0:
            self._all_closed.clear()
            try:
                await asyncio.wait_for(self._all_closed.wait(), limit_s)
            except TimeoutError:
                return

    def _found(self, scope: Scope) -> str:
        """The stream that is asked for. Raises EngineError."""
        match scope["path"].split("/")[1:]:
            case ["api", "v1", "streams", name, "ws"]:
                self._calls.find(name)
            case _:
                raise NotFound("no WebSocket answers at this path; /api/v1/streams/{name}/ws does")
        if self._calls.stopping.is_set():
            raise NotReady("the server is stopping")
        if self._open >= CONNECTIONS:
            raise Overloaded(f"{CONNECTIONS} WebSockets are open already")
        return str(name)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Those of *scope*, and the token of a browser among them."""
    headers = dict(scope["headers"])
    for offered in scope.get("subprotocols", ()):
        if offered.startswith(BEARER):
            headers.setdefault(b"authorization", b"Bearer " + offered.removeprefix(BEARER).encode("latin-1"))
    return headers


async def _refuse(scope: Scope, send: Send, error: EngineError, request_id: str) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    path = scope["path"]
    headers: list[Any] = [(b"content-type", JSON), (b"x-request-id", request_id.encode("ascii"))]
    headers += headers_at(path, error)
    await send({"type": "websocket.http.response.start", "status": status_of(error), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": to_json(failure_at(path, error, request_id))})
