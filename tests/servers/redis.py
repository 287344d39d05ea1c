"""A Redis server of a test's own, which can be stopped, frozen and started again; and a line to it that can be cut."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.processes import program, running


class RedisServer:
    """A server that keeps nothing on disk. *url* stays the same over restarts."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The URL under which this server is found at *port*, where a line to it may begin."""
        who = f":{self.password}@" if self.password else ""
        return f"redis://{who}127.0.0.1:{port}/0"

    @contextmanager
    def up(self) -> Iterator["RedisServer"]:
        """The server runs for the length of the block."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if self.password:
            options += ["--requirepass", self.password]
        with running([program("redis-server"), *options], self.folder, self._answers) as process:
            self._process = process
            try:
                yield self
            finally:
                with suppress(ProcessLookupError):
                    self.resume()

    def freeze(self) -> None:
        """It takes connections and says nothing any more."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask(self, *words: str) -> bytes:
        """What it says to one command, as it stands on the wire."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as line:
            commands = [("AUTH", self.password)] if self.password else []
            reply = b""
            for command in (*commands, words):
                parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
                line.sendall(f"*{len(command)}\r\n{''.join(parts)}".encode())
                reply = line.recv(65_536)
            return reply

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False


class Line:
    """A way to a server that lets *allowed* bytes of its answers through, and then cuts every connection."""

    def __init__(self) -> None:
        self.allowed: int | None = None
        self.port = 0
        self.cuts = 0


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line on a port of its own to the server at *port*."""
    line = Line()
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if answers and line.allowed is not None:
                    data, line.allowed = data[: line.allowed], max(0, line.allowed - len(data))
                writer.write(data)
                await writer.drain()
                if answers and line.allowed == 0:
                    line.cuts += 1
                    break
        writer.close()

    async def both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ways = [carry(reader, back, answers=False), carry(there, writer, answers=True)]
        running = [asyncio.ensure_future(way) for way in ways]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for way in running:
            way.cancel()
        for end in (writer, back):
            end.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(both_ways(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
