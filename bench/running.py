"""How is a server started, known to be right, watched and stopped?"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.venvs import ROOT

START_S = 60.0
STOP_S = 10.0
POLL_S = 0.01
NEVER_RIGHT = frozenset({401, 403, 405, 413, 415, 422})  # not 400: MLServer says it while it loads a model


class NotServing(Exception):
    """A server did not come up, or its first answer was wrong; the message quotes the end of its log."""


class NotReady(Exception):
    """A server answers, but not with an answer yet."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a server on a port is asked first (NotReady or OSError while it starts), and whether an answer is right."""

    ask: Callable[[int], bytes]
    is_right: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answered right: its port, its process, and seconds from its start to that answer."""

    port: int
    process: psutil.Process
    first_answer_s: float

    def family(self) -> list[psutil.Process]:
        """The process and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def cpu_s(self) -> float:
        """Seconds of processor time that the family has used."""
        return sum(_cpu_of(process) for process in self.family())

    def memory_mb(self) -> float:
        """Resident memory of the family in MB (pages that processes share count in each)."""
        return sum(_memory_of(process) for process in self.family()) / 1e6


def _cpu_of(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _memory_of(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], port: int, question: Question, *, log: Path
) -> Iterator[Running]:
    """Start *command*, wait for the right answer to *question*, and stop it with all that it started in the end.

    Raises NotServing.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = time.monotonic()
        child = subprocess.Popen(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd=log.parent,
        )  # fmt: skip
    try:
        body = _first_answer(child, port, question, log)
        seconds = time.monotonic() - started
        if not question.is_right(body):
            raise NotServing(f"its first answer is wrong: {body[:200]!r}")
        yield Running(port, psutil.Process(child.pid), seconds)
    finally:
        stop(child)


def _first_answer(child: subprocess.Popen[bytes], port: int, question: Question, log: Path) -> bytes:
    """The first answer. Servers that are not ready refuse, or answer otherwise."""
    until, last = time.monotonic() + START_S, "nobody listened"
    while time.monotonic() < until:
        if child.poll() is not None:
            raise NotServing(f"it ended with exit code {child.returncode}: {_end_of(log)}")
        try:
            return question.ask(port)
        except (OSError, http.client.HTTPException, NotReady) as error:
            last = f"{type(error).__name__}: {error}" if not isinstance(error, NotReady) else str(error)
        time.sleep(POLL_S)  # readiness has no event to wait for
    raise NotServing(f"no answer within {START_S:.0f} s ({last}): {_end_of(log)}")


def post(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The answer to one HTTP request. Raises NotReady, or NotServing for a status that waiting will not change."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        found = answer.read()
    finally:
        connection.close()
    if answer.status in NEVER_RIGHT:
        raise NotServing(f"it refuses the question with status {answer.status}: {found[:200]!r}")
    if answer.status != 200:
        raise NotReady(f"status {answer.status}: {found[:200]!r}")
    return found


def call(module: str, port: int, message: bytes) -> bytes:
    """The answer to one gRPC call, which *module* makes in a process of its own. Raises NotReady."""
    command = [sys.executable, "-m", module, str(port)]
    done = subprocess.run(command, input=message, capture_output=True, timeout=20, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise NotReady(done.stderr.decode(errors="replace").strip()[-200:])
    return done.stdout


def stop(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for whatever of its family is left after ten seconds."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(child.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
    if child.poll() is None:
        child.kill()
        child.wait(STOP_S)
    _, alive = psutil.wait_procs(family, timeout=1.0)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_S)


def _end_of(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])[-500:] or "its log is empty"
