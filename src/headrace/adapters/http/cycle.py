"""How an answer leaves in one write, and what uvicorn's protocol asks of the request that it is the answer to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

_STATUS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_JSON: Final = b"content-type: application/json\r\nx-request-id: "

HeaderPairs = Sequence[tuple[bytes, bytes]]


class _Written:
    """The headers that every answer has (the date, above all) as bytes: they change once a second."""

    headers: HeaderPairs = ()
    text = b""
    ok = b""


def _written(headers: HeaderPairs) -> bytes:
    if headers is not _Written.headers:
        _Written.headers = headers
        _Written.text = b"".join(b"%b: %b\r\n" % header for header in headers)
        _Written.ok = _STATUS[200] + _Written.text + _JSON
    return _Written.text


class Cycle(ABC):
    """A request whose answer is written at once. To uvicorn's protocol it looks like one of its own cycles."""

    __slots__ = (
        "_defaults", "_on_response", "body", "disconnected", "keep_alive", "more_body", "response_complete",
        "transport",
    )  # fmt: skip

    def __init__(
        self, transport: Any, default_headers: HeaderPairs, on_response: Callable[[], None], *, keep_alive: bool
    ) -> None:
        self.transport = transport
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = keep_alive
        self._defaults = default_headers
        self._on_response = on_response

    @property
    def message_event(self) -> Self:
        """What uvicorn sets when there is something to receive."""
        return self

    @abstractmethod
    def set(self) -> None:
        """Something has come: the rest of the body, or the end of the connection."""

    @abstractmethod
    def cancel(self, *_: object) -> bool:
        """Stop what is under way, as `asyncio.Task.cancel` does."""

    def reply(self, status: int, headers: HeaderPairs, body: bytes) -> None:
        """Send the whole answer."""
        if not (self.disconnected or self.response_complete):
            self.transport.write(self.headed(status, headers) + body)
            self.complete()

    def reply_ok(self, request_id: bytes, body: bytes) -> None:
        """Send the JSON *body* with nothing beside it that is unusual."""
        if self.disconnected or self.response_complete:
            return
        if not self.keep_alive:
            self.reply(200, [(b"content-type", b"application/json"), (b"x-request-id", request_id),
                             (b"content-length", b"%d" % len(body))], body)  # fmt: skip
            return
        if self._defaults is not _Written.headers:
            _written(self._defaults)
        self.transport.write(b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (_Written.ok, request_id, len(body), body))
        self.complete()

    def complete(self) -> None:
        """The answer has been sent."""
        self.response_complete = True
        self.set()
        self.ended()

    def ended(self) -> None:
        """Nothing more is to be sent: the connection takes its next request, or ends."""
        if not self.keep_alive:
            self.transport.close()
        self._on_response()

    def headed(self, status: int, headers: HeaderPairs) -> bytes:
        """Status line and headers as they are sent."""
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
