"""HAProxy for tests, in front of servers whose readiness it asks for."""

import csv
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .ports import free_port
from .processes import listens, program, running

CHECK_MS = 100
"""How often HAProxy asks a server whether it is ready."""


@dataclass(frozen=True)
class Balancer:
    """HAProxy on *port*; *status_port* tells how it sees the servers."""

    port: int
    status_port: int

    def ups(self) -> int:
        """How many servers it sends requests to."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/;csv", timeout=10) as answer:
            rows = csv.DictReader(answer.read().decode().lstrip("# ").splitlines())
            return sum(row["svname"] not in ("FRONTEND", "BACKEND") and row["status"] == "UP" for row in rows)


def configuration(port: int, status_port: int, backends: Sequence[int]) -> str:
    """The balancer on *port* before the servers on the ports *backends*."""
    servers = "\n".join(
        f"    server s{number} 127.0.0.1:{backend} check inter {CHECK_MS}ms fall 2 rise 1 init-addr none"
        for number, backend in enumerate(backends)
    )
    return f"""
defaults
    mode http
    timeout connect 5s
    timeout check 5s
    timeout client 30s
    timeout server 30s
    option redispatch
frontend status
    bind 127.0.0.1:{status_port}
    stats enable
    stats uri /
frontend door
    bind 127.0.0.1:{port}
    default_backend headrace
backend headrace
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
    http-reuse safe
{servers}
"""


@contextmanager
def haproxy(folder: Path, backends: Sequence[int]) -> Iterator[Balancer]:
    """HAProxy in front of the servers on *backends*."""
    port, status_port = free_port(), free_port()
    (folder / "haproxy.cfg").write_text(configuration(port, status_port, backends))
    with running([program("haproxy"), "-db", "-f", "haproxy.cfg"], folder, lambda: listens(port)):
        yield Balancer(port, status_port)
