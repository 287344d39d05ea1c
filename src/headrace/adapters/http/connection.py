"""What happens on one connection beyond what uvicorn sees to: endless headers, no HTTP at all, and a proper end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.adapters.http.app import HttpDoor
from headrace.adapters.http.cycle import Cycle
from headrace.adapters.http.errors import failure
from headrace.adapters.http.heads import LARGEST_BODY, Head, Heads
from headrace.adapters.http.middleware import Guard
from headrace.adapters.http.quick import Quick
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.swift import SLOW_HEADERS, Swift, is_hot
from headrace.domain.errors import EngineError, InvalidRequest, TooLarge

MAX_HEAD: Final = 65_536
"""Bytes of request line and headers; what is longer is refused."""
LINGER_S: Final = 1.0
"""How long a client may go on sending, unread, after the answer that ends its connection."""


_HEADS: Final = Heads()


def _nothing(_: bytes) -> None:
    """What is written after the end."""


class Line:
    """The transport of one connection, closed in a way that lets the last answer arrive.

    A connection that is closed while bytes from the client are unread is reset, and the client may lose the very
    answer that told it to stop sending.
    """

    __slots__ = ("_protocol", "_transport", "lingering", "write")

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self.write: Callable[[Any], None] = transport.write
        self.lingering = False

    @property
    def bare(self) -> asyncio.Transport:
        """The transport itself."""
        return self._transport

    def is_closing(self) -> bool:
        """Whether nothing more should be written."""
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        """End the connection: at once, or when the client has stopped sending. A second call ends it at once."""
        transport = self._transport
        if (
            self.lingering
            or transport.is_closing()
            or not self._protocol.expects_more()
            or not transport.can_write_eof()
        ):
            transport.close()
            return
        self.lingering = True
        self.write = _nothing  # a request that came before the end may still be answered by its application
        transport.write_eof()
        self._protocol.flow.resume_reading()
        self._protocol.loop.call_later(LINGER_S, transport.close)

    def abort(self) -> None:
        """End the connection and forget what was not sent yet."""
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows about itself."""
        return self._transport.get_extra_info(name, default)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to headers, and with our form of refusing what is no HTTP."""

    _head = 0
    _refused = False
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
        self.transport: Any = Line(transport, self)
        self._guarded = isinstance(self.app, Guard)  # code of the user counts on running in a task of its own
        self._door = self.app if isinstance(self.app, HttpDoor) else None

    def expects_more(self) -> bool:
        """Whether the client may be sending still."""
        return self._refused or (self.cycle is not None and self.cycle.more_body)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; a head that does not end in time must not fill the memory."""
        if self.transport.lingering:
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
        super().data_received(data)
        self._whole = None
        if not self._in_head:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self._refuse(TooLarge(f"the request line and headers may have {MAX_HEAD} bytes"), b"431")

    def on_message_begin(self) -> None:
        """A request begins. What uvicorn prepares for it waits until it is known which way the request takes."""
        self._in_head = True
        self._between = False
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._declared: bytes | None = None
        self._slow = self._guarded

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole. Called several times a request, it does what uvicorn's does itself."""
        name = name.lower()
        self.headers.append((name, value))
        if name == b"content-length":
            self._declared = value
        elif name in SLOW_HEADERS:
            self._slow = True
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """The head is there: now it is known which way the request takes."""
        self._in_head = False
        if not self._is_swift():
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()
            return
        self._hot = Head(self.url, self.headers, int(self._declared or 0), keep_alive=self.parser.should_keep_alive())
        self.cycle = self._cycle(self._hot)

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

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
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
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._quiet_since = self.loop.time()
        if self._quiet is None:
            self._quiet = self.loop.call_later(self.timeout_keep_alive, self._end_if_quiet)

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
        super()._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
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
        cycle: Any = self.cycle
        return isinstance(cycle, Cycle) and not cycle.response_complete

    def cut(self) -> bool:
        """Stop a request that is under way on the shorter way; False if there is none."""
        cycle: Any = self.cycle
        return self.is_answering() and cycle.cancel()

    def _should_upgrade(self) -> bool:
        """Whether this is the beginning of a WebSocket; with another method or without a key it is none."""
        upgrade = super()._should_upgrade()
        return upgrade and self.scope["method"] == "GET"

    def _unsupported_upgrade_warning(self) -> None:
        """A client may offer another protocol (h2c); it is answered in this one, and nobody need be warned."""

    def handle_websocket_upgrade(self) -> None:
        """The connection changes hands, without the layer that is for HTTP alone."""
        self.transport = self.transport.bare
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(InvalidRequest("this is no valid HTTP request"), b"400")

    def _refuse(self, error: EngineError, status: bytes) -> None:
        body = to_json(failure(error, ""))
        self._refused = True
        self.transport.write(
            b"HTTP/1.1 %b \r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, len(body), body)
        )
        self.transport.close()
