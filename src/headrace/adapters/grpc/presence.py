"""Is there a gRPC door at all? It needs packages of its own, and a port."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Final

from headrace.adapters.credentials import Credentials
from headrace.adapters.http.settings import ApiSettings
from headrace.core.constraints import Secret
from headrace.core.logging import logger
from headrace.domain.errors import InvalidConfig
from headrace.services.deployments import Deployments
from headrace.services.idempotency import Idempotency
from headrace.services.inference import Inference

PORT: Final = 8001
"""Where clients of the protocol look for gRPC by default."""
PACKAGES: Final = ("grpc", "grpc_health", "google.protobuf")

log = logger("headrace")


async def serve_if_present(
    inference: Inference,
    deployments: Deployments,
    settings: ApiSettings,
    stop: asyncio.Event,
    token: Credentials | Secret | str | None = None,
    idempotency: Idempotency | None = None,
) -> int:
    """The gRPC door until *stop* is set; returns how many calls were cut off.

    Where nobody asked for it (``grpc_port`` is None), its packages may be missing and its port may be another
    server's: that is logged. Raises InvalidConfig for the same where somebody did.
    """
    asked = settings.grpc_port
    if asked == 0:
        return 0
    if not installed():
        if asked is not None:
            raise InvalidConfig(
                f"gRPC was asked for, on port {asked}, and is not installed: pip install headrace[grpc]"
            )
        log.info("gRPC is off: pip install headrace[grpc]")
        return 0
    from headrace.adapters.grpc.serve import serve

    try:
        port = asked or PORT
        return await serve(
            inference, deployments, settings, stop, _listening, token=token, idempotency=idempotency, port=port
        )
    except InvalidConfig as error:
        if asked is not None:
            raise
        log.warning("gRPC is off", reason=error.message)
        return 0


def installed() -> bool:
    """Whether the packages are there."""
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:  # the parent of a package is missing
        return False


def _listening(address: str) -> None:
    log.info("gRPC is open", address=address)
