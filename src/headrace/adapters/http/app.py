"""The whole HTTP door as one ASGI function: ids, access, deadlines and failures for every call, and who answers it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from headrace.adapters.credentials import Credentials
from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.call import Answered, Call, ClientLeft, Receive, Scope, Send, given_id
from headrace.adapters.http.caller import Doorkeeper
from headrace.adapters.http.departures import Departures
from headrace.adapters.http.errors import WrongMethod
from headrace.adapters.http.framework import Application, Framework
from headrace.adapters.http.health import DatabaseHealth, HealthCalls, Scrape
from headrace.adapters.http.idempotency import HEADER, KeyedCalls
from headrace.adapters.http.middleware import Middleware, wrapped
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.open_inference import OpenInferenceCalls
from headrace.adapters.http.openai import OpenAICalls
from headrace.adapters.http.quick import Quick
from headrace.adapters.http.routes import Routes
from headrace.adapters.http.settings import ApiSettings
from headrace.adapters.http.sockets import Sockets
from headrace.adapters.http.streams_events import StreamCalls
from headrace.adapters.http.swift import CALLER
from headrace.adapters.http.uploads import UploadCalls
from headrace.core.constraints import Secret
from headrace.core.logging import logger, request_id
from headrace.domain.errors import Denied, NotReady
from headrace.domain.traces import let_go
from headrace.services.deployments import Deployments
from headrace.services.idempotency import Idempotency
from headrace.services.inference import Inference
from headrace.services.routes import Routes as PipelineRoutes
from headrace.services.streams import Streams

log = logger(__name__)

_METHODS = b"GET, POST, PUT, DELETE"
_PREFLIGHT_AGE_S = b"600"


def create_app(
    inference: Inference,
    deployments: Deployments,
    settings: ApiSettings,
    *,
    token: Credentials | Secret | str | None = None,
    metrics: Scrape | None = None,
    streams: Streams | None = None,
    routes: PipelineRoutes | None = None,
    idempotency: Idempotency | None = None,
    middleware: Sequence[Middleware] = (),
    title: str = "Headrace",
    version: str = "1.0.0",
) -> HttpDoor:
    """The door as an ASGI callable.

    With a *token* every path but the two probes demands it. *metrics* answers ``/metrics``; *title* and *version*
    head the documentation. *routes* can be changed here; without *idempotency* keys mean nothing. *middleware* are
    (name, app -> app), the outermost first; raises InvalidConfig for one that fails.
    """
    doorkeeper = Doorkeeper(token, settings.cors_origins)
    door = HttpDoor(inference, deployments, settings, doorkeeper, metrics, streams, title, version, routes)
    if idempotency is not None:
        door.keep_answers(idempotency)
    if middleware:
        door.entrance = wrapped(door, middleware)
    return door


class HttpDoor:
    """An ASGI application. What is hot is answered by plain calls; the rest by FastAPI, built when first needed."""

    def __init__(
        self,
        inference: Inference,
        deployments: Deployments,
        settings: ApiSettings,
        doorkeeper: Doorkeeper,
        metrics: Scrape | None,
        streams: Streams | None,
        title: str,
        version: str,
        routes: PipelineRoutes | None = None,
    ) -> None:
        self.in_flight = 0
        self.entrance: Application = self
        """What the server calls: the door, or the middleware around it."""
        self._inference = inference
        self._deployments = deployments
        self._doorkeeper = doorkeeper
        self._title, self._version = title, version
        self._departures = Departures()
        self._health = HealthCalls(inference, deployments, metrics, settings.workers)
        native = NativeCalls(inference, deployments, self._departures, settings)
        v2, v1 = OpenInferenceCalls(native, self._health), OpenAICalls(native)
        self._streams = streams
        self._pipeline_routes = routes
        self._keyed: KeyedCalls | None = None
        self._stream_calls = StreamCalls(streams, self._health, self._departures, settings.max_body)
        self._sockets = Sockets(self._stream_calls, doorkeeper)
        self._routes = Routes(native, v2, v1, UploadCalls(native), self._stream_calls, self._health)
        self._framework = Framework(self._build, settings.max_body)
        self._max_body = settings.max_body
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def draining(self) -> bool:
        """Whether the server is stopping."""
        return self._health.draining

    def keep_answers(self, idempotency: Idempotency) -> None:
        """From now on answer calls with an ``Idempotency-Key`` once."""
        self._keyed = KeyedCalls(idempotency, self._departures, self._max_body)

    def ask_databases(self, *asked: DatabaseHealth) -> None:
        """From now on tell of these databases under ``/api/v1/databases/health``."""
        self._health.databases_asked = asked

    async def prepare(self) -> None:
        """Build what documents and carries the calls that are not hot; worth doing once the server is ready."""
        await self._framework.prepare()

    def drain(self) -> None:
        """Stop being ready; requests are still answered, and each answer ends its connection."""
        self._health.draining = True
        self._stream_calls.stop()

    async def sockets_closed(self, limit_s: float) -> None:
        """Wait until the WebSockets have ended, which they do once their events are answered; at most *limit_s*."""
        await self._sockets.closed(limit_s)

    def close(self) -> None:
        """Let go of timers; call it when nothing is in flight any more."""
        self._departures.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._answer_other(scope, receive, send)
            return
        headers = dict(scope["headers"])
        call = Call(scope, receive, send, headers)
        call.request_id = given_id(headers) or f"{self._prefix}-{next(self._numbers)}"
        call.closing = self._health.draining
        if (swift := scope.get(CALLER)) is not None:
            call.reply, call.choice = swift.reply, swift.choice
        request_id.set(call.request_id)
        self.in_flight += 1
        try:
            await self._answer(call)
        except ClientLeft:
            pass
        except asyncio.CancelledError:
            await self._cancelled(call)
        except Exception as error:
            await self._fail(call, error)
        finally:
            self.in_flight -= 1
            if call.watch is not None:
                call.watch.cancel()

    def begin(self, quick: Quick) -> bool:
        """What `__call__` does for a request that need not wait; False, and nothing was done, for any other."""
        head = quick.head
        found = self._routes.find(head.path)
        if found is None or found.start is None or head.length > self._max_body or b"origin" in head.headers:
            return False
        call = quick.call = Call(head.scope, _nothing, _nothing, head.headers, head.wishes)
        call.request_id = head.given_id or f"{self._prefix}-{next(self._numbers)}"
        call.closing = self._health.draining
        call.reply, call.usual = quick.reply, quick.reply_ok
        request_id.set(call.request_id)
        self.in_flight += 1
        try:
            call.caller = self._doorkeeper.admit("POST", head.path, head.headers)
            course = found.start(call, quick.body, quick.finish, *found.names)
        except Exception as error:
            self.refuse(quick, error)
            return True
        if course is None:
            quick.call, quick.choice = None, call.choice
            self.in_flight -= 1
            return False
        quick.begun(course)
        return True

    def refuse(self, quick: Quick, error: BaseException) -> None:
        """Answer a request that need not wait, and that failed."""
        if quick.call is not None:
            self._later(self._fail(quick.call, error))

    def answer_later(self, quick: Quick, answer: Answered) -> None:
        """Answer when the body has been packed."""
        if quick.call is not None:
            body, media, extra = answer
            self._later(quick.call.answer(body, 200, media, extra))

    def ended(self) -> None:
        """A request that need not wait is over."""
        self.in_flight -= 1

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(_unless_gone(work))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, call: Call) -> None:
        headers, method = call.headers, call.method
        if b"origin" in headers:
            call.cross_origin = self._doorkeeper.allowed_origin(headers)
            if method == "OPTIONS" and b"access-control-request-method" in headers:
                await self._preflight(call)
                return
        call.caller = self._doorkeeper.admit(method, call.path, headers)
        found = self._routes.find(call.path)
        if found is not None and method != found.method and method not in found.methods:
            raise WrongMethod(method, found.methods)
        answer = found or self._framework.answer
        if HEADER in headers and method == "POST" and self._keyed is not None:
            keyed = self._keyed.finish if found is None else self._keyed.answer
            await keyed(call, answer)
        else:
            await answer(call)

    async def _preflight(self, call: Call) -> None:
        """A browser asks whether a page may make the call that it is about to make."""
        if call.cross_origin is None:
            raise Denied("pages of this origin may not call this server; allow it under api.cors_origins")
        wanted = call.headers.get(b"access-control-request-headers", b"")
        allowed = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", wanted or b"Content-Type"),
            (b"access-control-max-age", _PREFLIGHT_AGE_S),
        ]
        await call.answer(b"", 200, b"text/plain", allowed)

    async def _fail(self, call: Call, error: BaseException) -> None:
        meaning = meaning_of(error)
        if meaning.code == "internal":
            log.error("a request failed", path=call.path, request_id=call.request_id, exc_info=error)
        elif meaning.code == "model_failure":
            log.warning("a model failed", error=meaning.message, request_id=call.request_id, exc_info=error.__cause__)
        if call.uncounted:
            self._inference.refused("http", meaning, call.request_id)
        let_go((error,))
        if not call.started:
            await call.fail(meaning)

    async def _cancelled(self, call: Call) -> None:
        """The client left, or the server cannot wait any longer; in the latter case the client is told."""
        if not call.departed:
            if call.started:
                raise asyncio.CancelledError
            call.closing = True
            await call.fail(NotReady("the server stopped before this request was answered"))
        if (task := asyncio.current_task()) is not None:
            task.uncancel()

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, or lifespan messages of servers that send them."""
        if scope["type"] == "websocket":
            # Not what the client calls itself: the answers to its events find it by this id.
            number = f"{self._prefix}-{next(self._numbers)}"
            request_id.set(number)
            await self._sockets.answer(scope, receive, send, number)
            return
        while (message := await receive())["type"] != "lifespan.shutdown":
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    def _build(self) -> Application:
        from headrace.adapters.http.resources import About, build

        about, routes = About(self._title, self._version, self._doorkeeper.guarded), self._pipeline_routes
        return build(
            self._inference, self._deployments, self._health, self._stream_calls, about, self._max_body, routes
        )


async def _unless_gone(work: Coroutine[Any, Any, None]) -> None:
    with suppress(ClientLeft):
        await work


async def _nothing(*_: Any) -> Any:
    """What a request that need not wait receives, and sends in pieces."""
    raise ClientLeft
