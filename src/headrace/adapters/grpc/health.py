"""Answers the standard health service, which orchestrators and proxies probe. It asks for no token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.adapters.grpc.door import Door
from headrace.adapters.grpc.servicer import SERVICE

SERVICES: Final = ("", SERVICE)
"""What may be asked about: the server as a whole, and its one service. Both are as ready as each other."""
LOOK_S: Final = 1.0
"""How often a watched status is looked at."""


class Health(health_pb2_grpc.HealthServicer):
    """Tells whether the server is ready; *stopping* is set when it begins to end."""

    def __init__(self, door: Door, stopping: asyncio.Event) -> None:
        self._door = door
        self._stopping = stopping

    async def Check(self, request: Any, context: Any) -> Any:
        """The status now. NOT_FOUND for a service that is not here."""
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r:.100}")
        return self._status()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The status now and whenever it changes, until the server stops."""
        if request.service not in SERVICES:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            await self._stopping.wait()
            return
        told = None
        while True:
            last = self._stopping.is_set()  # asked first: it may be set while the status is on its way
            if (status := self._status()) != told:
                yield status
                told = status
            if last:
                return
            await self._look_again()

    async def _look_again(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), LOOK_S)
        except TimeoutError:
            return

    def _status(self) -> Any:
        states = health_pb2.HealthCheckResponse
        return states(status=states.SERVING if self._door.ready else states.NOT_SERVING)
