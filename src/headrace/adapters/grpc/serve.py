"""How does the door stand in the network? grpc.aio carries it; starting and stopping are ours."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from headrace.adapters.credentials import Credentials
from headrace.adapters.grpc.door import Door
from headrace.adapters.grpc.health import Health
from headrace.adapters.grpc.servicer import Methods
from headrace.adapters.http.settings import ApiSettings
from headrace.core.constraints import Secret
from headrace.domain.errors import InvalidConfig
from headrace.services.deployments import Deployments
from headrace.services.idempotency import Idempotency
from headrace.services.inference import Inference

TICK_S: Final = 0.02
LISTEN_S: Final = 1.0
"""How long calls are refused one by one, at most, before the server stops listening."""
FAREWELL_S: Final = 1.0
"""How long those whose time is over when stopping have to be told so."""


async def serve(
    inference: Inference,
    deployments: Deployments,
    settings: ApiSettings,
    stop: asyncio.Event,
    on_listening: Callable[[str], Awaitable[None] | None] | None = None,
    *,
    token: Credentials | Secret | str | None = None,
    idempotency: Idempotency | None = None,
    port: int,
) -> int:
    """Serve over gRPC on *port* (0: a free one) until *stop* is set, and then until what was accepted is answered.

    *on_listening* gets ``host:port`` once connections are accepted. When stopping, readiness goes first; after
    ``drain_delay_s`` no more calls are accepted; calls under way have ``drain_s`` to be answered. Without
    *idempotency* keys mean nothing. Returns how many were cut off. Raises InvalidConfig if the address cannot be had.
    """
    door = Door(Credentials.demanded(token), inference.refused, lambda: deployments.ready)
    leaving = asyncio.Event()
    server = grpc.aio.server(options=_options(settings))
    server.add_generic_rpc_handlers((Methods(inference, deployments, door, settings.max_rows, idempotency),))
    health_pb2_grpc.add_HealthServicer_to_server(Health(door, leaving), server)
    address = _listen(server, settings.host, port, shared=settings.workers > 1)
    await server.start()
    try:
        if on_listening is not None and (waiting := on_listening(address)) is not None:
            await waiting
        await stop.wait()
        door.draining = True
        leaving.set()
        await asyncio.sleep(settings.drain_delay_s)
        return await _drained(server, door, settings.drain_s)
    finally:
        await server.stop(None)


def _options(settings: ApiSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", int(settings.workers > 1)),  # else a second server would share the port in silence
        ("grpc.max_receive_message_length", settings.max_body),  # also when unpacked
        ("grpc.max_send_message_length", -1),
    ]


def _listen(server: Any, host: str, port: int, *, shared: bool) -> str:
    """Bind *server* to the first address of *host*; returns ``host:port``. *shared*: other workers have it too."""
    try:
        family, _, _, _, (ip, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InvalidConfig(f"api.host {host!r} is no address that can be listened on: {error.strerror}") from None
    # Asked first: gRPC itself does not say why, but writes to the terminal.
    why = _obstacle(family, str(ip), port, shared)
    shown = f"[{ip}]" if family == socket.AF_INET6 else str(ip)
    if why == 0:
        try:
            return f"{shown}:{server.add_insecure_port(f'{shown}:{port}')}"
        except RuntimeError:
            why = errno.EADDRINUSE
    hint = "; stop what uses it or set another api.grpc_port" if why == errno.EADDRINUSE else ""
    raise InvalidConfig(f"cannot listen on {host} port {port}: {os.strerror(why)}{hint}")


def _obstacle(family: int, ip: str, port: int, shared: bool) -> int:
    """The number of the system's error when a port is bound; 0 if it can be."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        try:
            probe.bind((ip, port))
        except OSError as error:
            return error.errno or errno.EADDRNOTAVAIL
    return 0


async def _drained(server: Any, door: Door, drain_s: float) -> int:
    """Accept no more calls and wait for those under way; returns how many were cut off."""
    until = asyncio.get_running_loop().time() + drain_s
    door.close()
    await _quiet(door, min(drain_s, LISTEN_S))
    left = max(0.0, until - asyncio.get_running_loop().time())
    ending = asyncio.ensure_future(server.stop(left + FAREWELL_S))
    await asyncio.wait({ending}, timeout=left)
    cut = 0 if ending.done() else door.in_flight
    await ending
    return cut


async def _quiet(door: Door, longest_s: float) -> None:
    """Wait until no more calls come: gRPC would cancel those that are on their way when it stops.

    They are refused instead, with a status that tells their callers to ask elsewhere.
    """
    until = asyncio.get_running_loop().time() + longest_s
    seen = -1
    while door.refused != seen and asyncio.get_running_loop().time() < until:
        seen = door.refused
        await asyncio.sleep(TICK_S)
