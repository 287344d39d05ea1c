"""What happens on one connection beyond what uvicorn sees to: endless headers, no HTTP at all, and who has left."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Any, Final
from uuid import uuid4

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.adapters.http.app import HttpDoor
from headrace.adapters.http.cycle import Cycle
from headrace.adapters.http.errors import failure
from headrace.adapters.http.heads import LARGEST_BODY, Head, Heads
from headrace.adapters.http.line import Line
from headrace.adapters.http.middleware import Guard
from headrace.adapters.http.quick import Quick
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.swift import SLOW_HEADERS, Swift, is_hot
from headrace.adapters.http.upgrades import without_offer
from headrace.domain.errors import EngineError, InvalidRequest, TooLarge
from headrace.domain.traces import let_go

MAX_HEAD: Final = 65_536
"""Bytes of request line and headers; what is longer is refused."""
PIPELINED: Final = 16
"""While fewer requests wait for the one before them more is read, so that it shows when their client leaves."""
Refusal = tuple[EngineError, bytes]
"""What is wrong with what a client sent, and the status that says so."""
NO_HTTP: Final[Refusal] = (InvalidRequest("this is no valid HTTP request"), b"400 Bad Request")
_HEADS: Final = Heads()


class Flow(FlowControl):
    """Whether more is read from a client: not while many of its requests are *waiting*."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, if that is wanted."""
        if len(self._waiting) < PIPELINED:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to headers, and with our form of refusing what is no HTTP."""

    _head = 0
    """Bytes in a row that belong to a head or to trailers, without those of the piece in which the head began."""
    _advanced = False
    """Whether there was more than a head or trailers in the piece that is being read."""
    _refusal: Refusal | None = None
    _refused = False
    """Whether nothing more is read: there was something that is no HTTP."""
    _offered = False
    """Whether the head just read offers another protocol, which is not taken."""
    _running: Any = None
    """The request that is being answered, if others wait behind it."""
    _guarded = False
    _in_head = True
    _quiet_since: float | None = None
    _quiet: asyncio.TimerHandle | None = None
    _between = True
    """Whether the parser waits for a request to begin."""
    _whole: bytes | None = None
    """What came at once, beginning with a request."""
    _hot: Head | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP has no other
        """A client is there."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self.transport: Any = Line(transport, self)
        self._guarded = isinstance(self.app, Guard)  # code of the user counts on running in a task of its own
        self._door = self.app if isinstance(self.app, HttpDoor) else None

    def expects_more(self) -> bool:
        """Whether the client may be sending still."""
        return self._refused or (self.cycle is not None and self.cycle.more_body)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused or self.transport.lingering:
            return
        if self._between:
            if self._door is not None and self._is_free():
                end = data.find(b"\r\n\r\n") + 4
                head = _HEADS.find(data[:end])
                if head is not None and len(data) - end == head.length:
                    self._unset_keepalive_if_required()
                    self._start(self._cycle(head), head, data[end:])
                    return
            self._whole = data
        self._unset_keepalive_if_required()
        self._parse(data)
        self._whole = None

    def _parse(self, data: bytes | memoryview) -> None:
        """Take in *data*; a head that does not end in time, or trailers, must not fill the memory."""
        self._advanced = False
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    if not self._offered:
                        self.handle_websocket_upgrade()
                        return
                    data = memoryview(data)[upgrade.args[0] :]
                    self._go_on_without_offer()
        except httptools.HttpParserError:
            self._refuse(self._refusal or NO_HTTP)
            return
        self._head = 0 if self._advanced else self._head + len(data)
        if self._head > MAX_HEAD:
            self._refuse(_too_long())

    def _go_on_without_offer(self) -> None:
        self._offered = False
        head = without_offer(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(head)

    def on_message_begin(self) -> None:
        """A request begins. What uvicorn prepares for it waits until it is known which way the request takes."""
        self._in_head = True
        self._advanced = True  # where in this piece it begins is not known
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._declared: bytes | None = None
        self._slow = self._guarded

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole. Called several times a request, it does what uvicorn's does itself."""
        if not self._in_head:
            return  # a trailer: nobody wants it, and it may stand for no header
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length":
            self._declared = value
        elif name in SLOW_HEADERS:
            self._slow = True
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._stop(
                    InvalidRequest("the only Transfer-Encoding that is read is 'chunked'"), b"501 Not Implemented"
                )

    def on_headers_complete(self) -> None:
        """The head is there: now it is known which way the request takes."""
        self._in_head = False
        self._advanced = True
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._stop(*_too_long())
        if self.parser.should_upgrade() and self._is_offer():
            self._offered = True
            return
        if not self._is_swift():
            url, headers, expects, before = self.url, self.headers, self.expect_100_continue, self.cycle
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self._waits_behind(before)
            return
        self._hot = Head(self.url, self.headers, int(self._declared or 0), keep_alive=self.parser.should_keep_alive())
        self.cycle = self._cycle(self._hot)

    def _waits_behind(self, before: Any) -> None:
        """The request that has come is one of those that wait; the one *before* it may be under way."""
        if len(self.pipeline) == 1:
            self._running = before
        self.flow.resume_reading()

    def _is_offer(self) -> bool:
        """Whether another protocol is offered that is not taken; False for a WebSocket, which takes the connection."""
        if self.parser.get_method() == b"CONNECT":
            self._stop(InvalidRequest("CONNECT is for proxies, and this is none"), b"405 Method Not Allowed")
        if not self._should_upgrade():
            return True
        if not self._is_free():
            self._stop(InvalidRequest("a WebSocket cannot be opened behind a request that waits"), b"400 Bad Request")
        return False

    def _cycle(self, head: Head) -> Any:
        """What answers a hot call, in the shortest way that there may be."""
        if self._door is None:
            return self._swift(head)
        return Quick(head, self._door, self.transport, self.server_state.default_headers, self._answered)

    def _swift(self, head: Head) -> Any:
        self.scope: Any = {**head.scope, "client": self.client}
        return Swift(
            self.scope, self.transport, self.server_state.default_headers, self._answered, keep_alive=head.keep_alive
        )

    def _start(self, cycle: Any, head: Head, body: bytes) -> None:
        """A hot call is here as a whole: let *cycle* answer it, or the next way if that one will not do."""
        cycle.body, self.cycle = body, cycle
        if isinstance(cycle, Quick):
            if cycle.start():
                return
            choice, cycle = cycle.choice, self._swift(head)
            cycle.body, cycle.choice, self.cycle = body, choice, cycle
        cycle.start(self.app)

    def _is_swift(self) -> bool:
        """Whether the shorter way will do: a hot call by itself, with a small body of a known length."""
        declared = self._declared
        return (
            declared is not None
            and not self._slow
            and is_hot(self.url)
            and b"%" not in self.url
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and len(declared) <= len(str(LARGEST_BODY))
            and int(declared) < LARGEST_BODY
            and self._is_free()
        )

    def _is_free(self) -> bool:
        """Whether nothing stands before a request that comes now."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline and not self.flow.write_paused

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        self._advanced = True
        if self._offered:
            return
        self._between = True
        head, self._hot = self._hot, None
        if head is None:
            super().on_message_complete()
            return
        cycle: Any = self.cycle
        body: bytes = cycle.body
        whole, length = self._whole, len(body)
        if whole is not None and length == head.length and whole.find(b"\r\n\r\n") + 4 + length == len(whole):
            _HEADS.remember(whole[: len(whole) - length], head)
        self._start(cycle, head, body)

    def _answered(self) -> None:
        """A request was answered on the shorter way. The connection ends when nothing more comes for a while.

        There is one timer for it, which looks how long it has been quiet; one for each request costs 2 us.
        """
        if self.pipeline or self._refused or self.transport.is_closing():
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._quiet_since = self.loop.time()
        if self._quiet is None:
            self._quiet = self.loop.call_later(self.timeout_keep_alive, self._end_if_quiet)

    def on_response_complete(self) -> None:
        """A request was answered: the next one that waits has its turn, or what was refused behind them all."""
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()
        if self._refused:
            self._say_last()

    def _first(self) -> Any:
        """The request that is being answered, or was the last one to be."""
        return self._running if self.pipeline else self.cycle

    def _end_if_quiet(self) -> None:
        self._quiet = None
        if self._quiet_since is None:
            return  # a request is under way; its answer sets the timer anew
        left = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._quiet = self.loop.call_later(left, self._end_if_quiet)
        else:
            self.timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        """Something has come, or a request takes the normal way."""
        self._quiet_since = None
        if self.timeout_keep_alive_task is not None:
            super()._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self.pipeline:  # uvicorn would tell the last one alone
            first = self._first()
            first.disconnected = not first.response_complete
            first.message_event.set()
            self.pipeline.clear()
        super().connection_lost(exc)
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def shutdown(self) -> None:
        """The server stops: a request that has not come as a whole was not accepted, and nobody waits for the rest."""
        cycle: Any = self.cycle
        if isinstance(cycle, Cycle) and cycle.more_body:
            self.transport.close()
        else:
            super().shutdown()

    def is_answering(self) -> bool:
        """Whether a request is under way on the shorter way."""
        cycle = self._first()
        return isinstance(cycle, Cycle) and not cycle.response_complete

    def cut(self) -> bool:
        """Stop a request that is under way on the shorter way; False if there is none."""
        return self.is_answering() and self._first().cancel()

    def _should_upgrade(self) -> bool:
        """Whether this is the beginning of a WebSocket; with another method it is none."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        """The connection changes hands, without the layer that is for HTTP alone."""
        self.transport = self.transport.bare
        super().handle_websocket_upgrade()

    def _stop(self, error: EngineError, status: bytes) -> None:
        """Leave the parser, from within it."""
        self._refusal = (error, status)
        raise error

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more, and say why: in the place of the answer to the request that it is about, after those before."""
        self._refused, self._refusal = True, refusal
        let_go(refusal[:1])  # it is kept here, which its trace holds
        cycle: Any = self.cycle
        if self._in_head or self._between or cycle is None or not cycle.more_body:
            self._say_last()
        elif self.pipeline:
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running
        else:
            self._say(begun=getattr(cycle, "response_started", False))

    def _say_last(self) -> None:
        if not self.pipeline and (self.cycle is None or self.cycle.response_complete):
            self._say()

    def _say(self, *, begun: bool = False) -> None:
        """Tell the client and end the connection; where an answer has *begun*, nothing can be told."""
        if self.transport.is_closing():
            return
        if self._refusal is not None and not begun:
            error, status = self._refusal
            number = uuid4().hex
            body = to_json(failure(error, number))
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
                b"connection: close\r\n\r\n%b" % (status, len(body), number.encode(), body)
            )
        self.transport.close()


def _too_long() -> Refusal:
    error = TooLarge(f"the request line and headers may have {MAX_HEAD} bytes")
    return error, b"431 Request Header Fields Too Large"
