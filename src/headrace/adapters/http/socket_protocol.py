"""What happens on a WebSocket connection beyond what uvicorn sees to: an answer to every bad beginning."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.adapters.http.errors import failure
from headrace.adapters.http.rendering import to_json
from headrace.domain.errors import InvalidRequest

_LOG = logging.getLogger("headrace.websocket")
_LOG.setLevel(logging.WARNING)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether *record* is more than a caller's mistake: uvicorn writes a traceback for a text that is no UTF-8."""
    return not str(record.msg).startswith("Invalid UTF-8")


_LOG.addFilter(_worth_a_line)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, without a log line for each connection.

    It says nothing to a handshake that it cannot read, and its client would wait for ever.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.logger = _LOG

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None and not self.transport.is_closing():
            body = to_json(failure(InvalidRequest("this is no valid WebSocket handshake"), ""))
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (len(body), body)
            )
            self.transport.close()
