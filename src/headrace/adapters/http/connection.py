"""What happens on one connection beyond what uvicorn sees to: endless headers, no HTTP at all, and a proper end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.adapters.http.errors import failure
from headrace.adapters.http.middleware import Guard
from headrace.adapters.http.rendering import to_json
from headrace.adapters.http.swift import LARGEST_BODY, SLOW_HEADERS, Swift, is_hot
from headrace.domain.errors import EngineError, InvalidRequest, TooLarge

MAX_HEAD: Final = 65_536
"""Bytes of request line and headers; what is longer is refused."""
LINGER_S: Final = 1.0
"""How long a client may go on sending, unread, after the answer that ends its connection."""


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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self.transport: Any = Line(transport, self)
        self._guarded = isinstance(self.app, Guard)  # code of the user counts on running in a task of its own

    def expects_more(self) -> bool:
        """Whether the client may be sending still."""
        return self._refused or (self.cycle is not None and self.cycle.more_body)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; a head that does not end in time must not fill the memory."""
        if self.transport.lingering:
            return
        super().data_received(data)
        scope: Any = self.scope
        if scope is None or "path" in scope:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self._refuse(TooLarge(f"the request line and headers may have {MAX_HEAD} bytes"), b"431")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
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
        if not self._is_swift():
            super().on_headers_complete()
            return
        scope: Any = self.scope
        scope["method"], scope["query_string"] = "POST", b""
        scope["path"], scope["raw_path"] = self.url.decode("ascii"), self.url
        cycle: Any = Swift(
            scope,
            self.transport,
            self.server_state.default_headers,
            self.on_response_complete,
            keep_alive=self.parser.should_keep_alive(),
        )
        self.cycle = cycle

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
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
        )

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        cycle: Any = self.cycle
        if isinstance(cycle, Swift) and cycle.more_body:
            cycle.start(self.app)
        else:
            super().on_message_complete()

    def shutdown(self) -> None:
        """The server stops: a request that has not come as a whole was not accepted, and nobody waits for the rest."""
        cycle: Any = self.cycle
        if isinstance(cycle, Swift) and cycle.more_body:
            self.transport.close()
        else:
            super().shutdown()

    def is_answering(self) -> bool:
        """Whether a request is under way on the shorter way."""
        cycle: Any = self.cycle
        return isinstance(cycle, Swift) and not cycle.response_complete

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
