"""What do the workers of a server and their supervisor say to each other, and in which form?"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from headrace.core.families import Family, lasting, together
from headrace.services.statistics import Statistics
from headrace.services.statistics import together as added

Verb = Literal["load", "unload", "reload", "routes"]


class Change(msgspec.Struct, frozen=True, tag=True):
    """Something that was done in one worker and is to be done in all. No *version*: in all of them."""

    verb: Verb
    name: str = ""
    version: str | None = None


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The first message: what a worker serves. *late*: it lets nobody in before it is loaded.

    *listener* and *counts* are the numbers of the socket and of the file that it inherits, *wishes* what was changed
    before it came.
    """

    number: int
    workers: int
    config: str
    host: str
    port: int
    grpc_port: int
    listener: int
    counts: int
    token: str | None = None
    late: bool = False
    wishes: tuple[Change, ...] = ()


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker has loaded everything."""

    pipelines: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A worker cannot serve, and why; *code* is what it exits with."""

    message: str
    code: int


class Figures(msgspec.Struct, frozen=True):
    """What a worker has counted: for `/metrics`, and for the statistics of the Open Inference Protocol."""

    families: tuple[Family, ...] = ()
    statistics: tuple[Statistics, ...] = ()

    def lasting(self) -> Figures:
        """What is left of a process that ended."""
        return Figures(tuple(lasting(self.families)), self.statistics)


def all_together(parts: Sequence[Figures]) -> Figures:
    """The figures of several processes as those of one."""
    families = together(part.families for part in parts)
    return Figures(tuple(families), tuple(added(part.statistics for part in parts)))


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A worker has finished; so many requests were *cut*, and these are its last figures."""

    cut: int
    figures: Figures = Figures()


class Announced(msgspec.Struct, frozen=True, tag=True):
    """A change was made in the worker that says so."""

    id: int
    change: Change


class Do(msgspec.Struct, frozen=True, tag=True):
    """Make a change that was made elsewhere."""

    id: int
    change: Change


class Done(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Do`, and to `Announced` once all have answered; *reason* says why not, if not."""

    id: int
    reason: str = ""


class Collect(msgspec.Struct, frozen=True, tag=True):
    """A request for numbers: of one worker, or, asked of the supervisor, of all."""

    id: int


class Numbers(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Collect`."""

    id: int
    figures: Figures


class Open(msgspec.Struct, frozen=True, tag=True):
    """All workers are ready: say so to whoever asks."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Finish what was accepted, and end."""


Message = (
    Begin | Ready | Failed | Ended | Announced | Do | Done | Collect | Numbers | Open | Stop  # every one has its tag
)

_LENGTH: Final = struct.Struct("!I")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


class Line:
    """One end of the connection between a worker and the supervisor: messages in order, both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        """A line over *end*, one of a pair of sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Write *message*; if nobody is there any more, nothing happens."""
        if not self._writer.is_closing():
            content = _ENCODER.encode(message)
            self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> Message | None:
        """The next message; None once the other side is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return _DECODER.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def close(self) -> None:
        """Bring what was sent on its way, and end."""
        try:
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the other side was quicker
