"""How does a connection end so that the last answer arrives?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

LINGER_S: Final = 1.0
"""How long a client may go on sending, unread, after the answer that ends its connection."""


class Talk(Protocol):
    """What a line must know of what is spoken on it."""

    flow: Any
    loop: asyncio.AbstractEventLoop

    def expects_more(self) -> bool:
        """Whether the client may be sending still."""


def _nothing(_: bytes) -> None:
    """What is written after the end."""


class Line:
    """The transport of one connection, closed in a way that lets the last answer arrive.

    A connection that is closed while bytes from the client are unread is reset, and the client may lose the very
    answer that told it to stop sending.
    """

    __slots__ = ("_protocol", "_transport", "lingering", "write")

    def __init__(self, transport: asyncio.Transport, protocol: Talk) -> None:
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
