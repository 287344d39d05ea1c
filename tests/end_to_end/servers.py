"""A server of a workspace in a process of its own, as a user starts it."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.servers.ports import free_port

READY_LIMIT_S = 60.0


@dataclass
class Server:
    """A running server; *log* is what it writes."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        """Stop it as a service manager would; its exit code."""
        self.process.terminate()
        return self.process.wait(45)


@contextmanager
def serving(workspace: Path, environment: Mapping[str, str] | None = None, port: int | None = None) -> Iterator[Server]:
    """A server of *workspace* on *port*, or a free one, ready; killed at the end unless it was stopped."""
    port, log = port or free_port(), workspace / "server.log"
    with log.open("wb") as stream:
        server = Server(port, _started(workspace, port, stream, environment or {}), log)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            if server.process.poll() is None:
                server.process.kill()
                server.process.wait()


def _started(
    workspace: Path, port: int, stream: IO[bytes], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-W", "error", "-m", "headrace", "serve", "--port", str(port)]
    return subprocess.Popen(command, cwd=workspace, env={**os.environ, **environment}, stdout=stream, stderr=stream)


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + READY_LIMIT_S
    while True:
        assert server.process.poll() is None, server.log.read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/readyz", timeout=5):
                return
        except OSError:
            assert time.monotonic() < until, server.log.read_text()
            time.sleep(0.05)
