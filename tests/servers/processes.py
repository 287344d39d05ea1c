"""Programs that tests start for themselves: on free ports, in folders of their own, gone when the test is."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LIMIT_S = 60.0
POSTGRESQL = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *POSTGRESQL])


def program(name: str) -> str:
    """Where *name* is installed."""
    found = shutil.which(name, path=PLACES)
    assert found is not None, f"{name} is not installed: `python scripts/system_packages.py` says what is missing"
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on *port*."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """*command* started in *folder* (its log lies there) until the block ends; yields once it is *ready*.

    *user* runs it as somebody else, for servers that refuse to run as root.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=stream, stderr=stream, user=user
        )
        try:
            wait_until(ready, process, log)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when the program is *ready*; fails with its log when it ends or takes too long."""
    until = time.monotonic() + LIMIT_S
    while not ready():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.02)
