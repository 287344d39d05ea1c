"""On which port do several workers offer gRPC? It is found, and kept from others, before the first one starts."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.adapters.grpc.presence import PORT, installed
from headrace.adapters.http.settings import ApiSettings
from headrace.core.logging import logger
from headrace.domain.errors import InvalidConfig

log = logger("headrace")


@contextmanager
def held_port(settings: ApiSettings) -> Iterator[int]:
    """The port for all workers (0: no such door), which nobody else gets within the block.

    gRPC cannot take over a socket: each worker opens one of its own under the same port (SO_REUSEPORT). Raises
    InvalidConfig if gRPC was asked for and cannot be had.
    """
    held = _chosen(settings)
    if held is None:
        yield 0
        return
    with held:
        yield held.getsockname()[1]


def _chosen(settings: ApiSettings) -> socket.socket | None:
    asked = settings.grpc_port
    if asked == 0:
        return None
    if not installed():
        if asked is not None:
            raise InvalidConfig(
                f"gRPC was asked for, on port {asked}, and is not installed: pip install headrace[grpc]"
            )
        log.info("gRPC is off: pip install headrace[grpc]")
        return None
    try:
        return _held(settings.host, asked or PORT)
    except InvalidConfig as error:
        if asked is not None:
            raise
        log.warning("gRPC is off", reason=error.message)
        return None


def _held(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    try:
        with socket.socket(family, kind, protocol) as alone:  # with SO_REUSEPORT a second server would share it
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)  # and does not listen: callers go to the workers
    except OSError as error:
        number = error.errno or errno.EADDRNOTAVAIL
        hint = "; stop what uses it or set another api.grpc_port" if number == errno.EADDRINUSE else ""
        raise InvalidConfig(f"cannot listen on {host} port {port}: {os.strerror(number)}{hint}") from None
    return held
