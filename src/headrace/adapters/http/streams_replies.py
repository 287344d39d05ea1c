"""Whose event was it? Brings each answer of a stream to the connection that brought its event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.domain.ports import Message
from headrace.services.streams import Stream

Deliver = Callable[[Message], None]
REPLY_TO = "reply-to"
EVENT_ID = "event-id"


class Desk:
    """Follows the answers of one stream once for all connections, and gives each its own by the header `REPLY_TO`."""

    def __init__(self, stream: Stream) -> None:
        self._boxes: dict[str, Deliver] = {}
        self._following = stream.results()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def join(self, who: str, deliver: Deliver) -> None:
        """Call *deliver*, which must not wait, with every answer to an event of *who*."""
        self._boxes[who] = deliver

    def leave(self, who: str) -> bool:
        """Forget *who*; returns whether nobody is left, and then the desk is closed."""
        self._boxes.pop(who, None)
        if not self._boxes:
            self._task.cancel()
        return not self._boxes

    async def _follow(self) -> None:
        async for message in self._following:
            deliver = self._boxes.get(message.headers.get(REPLY_TO, ""))
            if deliver is not None:
                deliver(message)


class Replies:
    """The desks of the streams that have connections."""

    def __init__(self) -> None:
        self._desks: dict[Stream, Desk] = {}

    def join(self, stream: Stream, who: str, deliver: Deliver) -> None:
        """Let *deliver* have the answers of *stream* to the events of *who* from now on."""
        desk = self._desks.get(stream)
        if desk is None:
            desk = self._desks[stream] = Desk(stream)
        desk.join(who, deliver)

    def leave(self, stream: Stream, who: str) -> None:
        """Forget *who*."""
        if self._desks[stream].leave(who):
            del self._desks[stream]
