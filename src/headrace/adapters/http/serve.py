"""How does the door stand in the network? uvicorn carries it; starting and stopping are ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, cast

import uvicorn

from headrace.adapters.http.app import HttpDoor
from headrace.adapters.http.connection import Protocol
from headrace.adapters.http.settings import ApiSettings
from headrace.adapters.http.shared_listener import Counts, SharedListener
from headrace.domain.errors import InvalidConfig

BACKLOG: Final = 2048
IDLE_GRACE_S: Final = 0.5
"""How long connections without a request stay open when stopping: a request may be on its way on them."""
TICK_S: Final = 0.01


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on *host* and *port*, for `serve` here or in worker processes.

    Raises InvalidConfig, which names the address, if it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidConfig(f"api.host {host!r} is no address that can be listened on: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = "; stop what uses it or set another api.port" if error.errno == errno.EADDRINUSE else ""
        raise InvalidConfig(f"cannot listen on {host} port {port}: {error.strerror}{hint}") from None
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL that *listener* answers under."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    app: HttpDoor,
    settings: ApiSettings,
    stop: asyncio.Event,
    on_listening: Callable[[str], Awaitable[None] | None] | None = None,
    *,
    listener: socket.socket | None = None,
    counts: Counts | None = None,
) -> int:
    """Serve *app* until *stop* is set, and then until what was accepted is answered.

    *on_listening* gets the URL once connections are accepted. Without a *listener* one is bound from *settings*;
    *counts* stand beside one that other processes share.
    When stopping, readiness goes first; after ``drain_delay_s`` no more connections are accepted; requests under
    way have ``drain_s`` to be answered. Returns how many were cut off (0: every accepted request has its answer).
    Raises InvalidConfig if the address cannot be had.
    """
    listener = listener or bind(settings.host, settings.port)
    server = _Server(_config(app, settings), app, settings, stop, counts)
    if on_listening is not None:
        server.on_started = lambda: on_listening(address_of(listener))
    await server.serve(sockets=[listener])
    app.close()
    return server.cut


def _config(app: HttpDoor, settings: ApiSettings) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, app.entrance),
        http=Protocol,
        loop="none",  # the caller's loop runs already
        ws=cast(Any, _socket),
        ws_max_size=settings.max_body,
        ws_per_message_deflate=False,  # packs small events badly, and costs tens of KB for each connection
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
    )


def _socket(**given: Any) -> asyncio.Protocol:
    """What speaks WebSocket on a connection; imported (40 ms) when the first one is opened."""
    from headrace.adapters.http.socket_protocol import SocketProtocol

    return SocketProtocol(**given)


def _queued(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that stand in the queue of *listener*."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.setblocking(False)
        yield client


class _Server(uvicorn.Server):
    """uvicorn's, told to stop by an event, which loses no accepted request."""

    def __init__(
        self, config: uvicorn.Config, app: HttpDoor, settings: ApiSettings, stop: asyncio.Event, counts: Counts | None
    ) -> None:
        super().__init__(config)
        self._counts = counts
        self.cut = 0
        self.on_started: Callable[[], Awaitable[None] | None] | None = None
        self._app = app
        self._settings = settings
        self._stop = stop
        self._shared: list[SharedListener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept; from a socket that other processes share, one connection at a time."""
        if self._counts is None:
            await super().startup(sockets)
            return
        await super().startup([])
        open_now = self.server_state.connections.__len__
        self._shared = [SharedListener(one, self._protocol, self._counts, open_now) for one in sockets or []]
        for shared in self._shared:
            shared.open()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever set *stop*."""
        yield

    async def main_loop(self) -> None:
        """Keep the date of the answers right until the end is announced, and a while longer."""
        await self.on_tick(0)
        if self.on_started is not None and (waiting := self.on_started()) is not None:
            await waiting
        while not await self._stopped_within(1.0):
            await self.on_tick(0)
        self._app.drain()
        await asyncio.sleep(self._settings.drain_delay_s)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer what has come, and end the connections."""
        until = asyncio.get_running_loop().time() + self._settings.drain_s
        await self._stop_accepting(sockets or [])
        await self._connections_end(until)
        await self._app.sockets_closed(self._left(until))
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while (self.server_state.tasks or self.server_state.connections) and self._left(until) > 0:  # noqa: ASYNC110  uvicorn has sets, no event
            await asyncio.sleep(TICK_S)
        await self._cut_off()

    async def _stop_accepting(self, sockets: list[socket.socket]) -> None:
        """Close the listeners, after those who stand in their queue have been let in."""
        if self._counts is None:  # on a shared listener other processes go on accepting
            for listener in sockets:
                listener.listen(0)  # lets nobody new into the queue
        await asyncio.sleep(TICK_S)
        # Between the loop's last look at the queue and the close somebody may have come: take them, then close at once.
        late = [client for listener in sockets for client in _queued(listener)]
        for server in self.servers:
            server.close()
        for shared in self._shared:
            shared.close()
        for listener in sockets:
            listener.close()
        for client in late:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)

    def _protocol(self) -> asyncio.Protocol:
        state: dict[str, Any] = {}
        return Protocol(config=self.config, server_state=self.server_state, app_state=state)

    async def _connections_end(self, until: float) -> None:
        """Answers end their connections now; those that are idle may bring one more request for a moment."""
        grace = min(until, asyncio.get_running_loop().time() + IDLE_GRACE_S)
        while self.server_state.connections and self._left(grace) > 0:  # noqa: ASYNC110  likewise
            await asyncio.sleep(TICK_S)

    async def _cut_off(self) -> None:
        """Tell those who wait still that nothing will come, and close what stays open."""
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        connections = [one for one in self.server_state.connections if isinstance(one, Protocol)]
        swift = [one for one in connections if one.cut()]
        self.cut = len(tasks) + len(swift)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        until = asyncio.get_running_loop().time() + 1.0
        while any(one.is_answering() for one in swift) and self._left(until) > 0:  # noqa: ASYNC110  uvicorn's cycles too
            await asyncio.sleep(TICK_S)
        for connection in list(self.server_state.connections):
            connection.transport.close()

    @staticmethod
    def _left(until: float) -> float:
        return until - asyncio.get_running_loop().time()
