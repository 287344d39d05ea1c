"""Where does the server listen, and what does it accept?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from headrace.core.constraints import Between

Port = Annotated[int, Between(0, 65535)]
Count = Annotated[int, Between(1)]
Seconds = Annotated[float, Between(0)]


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """``api:`` in the main file."""

    host: str = field(
        default="127.0.0.1", metadata={"doc": "address to listen on; another than loopback demands a token"}
    )
    port: Port = field(default=8000, metadata={"doc": "port of the HTTP door; 0 takes a free one"})
    grpc_port: Port | None = field(
        default=None,
        metadata={
            "doc": "port of the gRPC door; 0: no such door; absent: 8001 if `headrace[grpc]` is there and it is free"
        },
    )
    cors_origins: tuple[str, ...] = field(
        default=(), metadata={"doc": "origins whose pages may call the API, as `https://shop.example`; `*` for all"}
    )
    max_body_mb: Annotated[float, Between(0.001)] = field(
        default=10.0, metadata={"doc": "megabytes (of 1,048,576 bytes) that one request may bring, also when unpacked"}
    )
    max_rows: Count = field(
        default=10_000, metadata={"doc": "rows that one request may bring; of raw arrays, any number that fits"}
    )
    drain_s: Seconds = field(default=30.0, metadata={"doc": "how long accepted requests may take when stopping"})
    drain_delay_s: Seconds = field(
        default=0.0, metadata={"doc": "how long to go on accepting after readiness went, for load balancers to notice"}
    )
    middleware: tuple[str, ...] = field(
        default=(), metadata={"doc": "ASGI middleware (app -> app) as `package.module:callable`, the outermost first"}
    )
    workers: Count = field(
        default=1,
        metadata={"doc": "processes that share the port; each loads all models, and one that dies is started again"},
    )

    @property
    def max_body(self) -> int:
        """The limit of a body in bytes."""
        return int(self.max_body_mb * 1024 * 1024)
