"""What stands around the door? ASGI middleware of the user, whose faults become answers like all others."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.call import JSON, Message, Receive, Scope, Send
from headrace.adapters.http.errors import failure_at, status_of
from headrace.adapters.http.framework import Application
from headrace.adapters.http.rendering import to_json
from headrace.core.logging import logger
from headrace.domain.errors import InvalidConfig

log = logger(__name__)

Middleware = tuple[str, Callable[[Any], Any]]


def wrapped(app: Application, middleware: Sequence[Middleware]) -> Application:
    """*app* within *middleware*, the first one outermost. Raises InvalidConfig for one that cannot be put there."""
    for name, wrap in reversed(middleware):
        try:
            outer = wrap(app)
        except Exception as error:  # code of the user
            raise InvalidConfig(f"api.middleware {name!r} failed: {type(error).__name__}: {error}") from error
        if inspect.iscoroutine(outer):
            outer.close()
        if not callable(outer):
            raise InvalidConfig(f"api.middleware {name!r} returned a {type(outer).__name__}; wanted is an application")
        app = outer
    return Guard(app)


class Guard:
    """Answers for middleware that fails: `internal` for this request, and a line in the log."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the outermost middleware answer."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # code of the user
            number = secrets.token_hex(6)
            log.error("middleware failed", path=scope.get("path"), request_id=number, exc_info=error)
            if scope["type"] == "http" and not begun:
                await _answer(scope, send, error, number)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1011})


async def _answer(scope: Scope, send: Send, error: Exception, number: str) -> None:
    meaning = meaning_of(error)
    body = to_json(failure_at(scope["path"], meaning, number))
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body)), (b"x-request-id", number.encode())]
    await send({"type": "http.response.start", "status": status_of(meaning), "headers": headers})
    await send({"type": "http.response.body", "body": body})
