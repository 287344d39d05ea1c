"""One process of a model, from its start to its end: how is it started, asked, watched and ended?"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.core.logging import logger
from headrace.core.telemetry import outgoing
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import Column
from headrace.infra.isolation.causes import Cause, KernelKills, cause_of
from headrace.infra.isolation.segments import WHOLE, Lent, Segment, pack
from headrace.infra.isolation.wire import (
    FROM_PROCESS,
    Answer,
    Broken,
    Call,
    End,
    Failed,
    FromProcess,
    Loaded,
    Next,
    Silent,
    Start,
    error_of,
    receive,
    send,
    wait_at_most,
)

LAST_LINES: Final = 20
LONGEST_LINE: Final = 500
LINES_PER_LOOK: Final = 50
"""Lines of one look at what a process wrote that go into the log; a process that writes more than that is cut short."""
LOOK_S, LIMITED_LOOK_S = 1.0, 0.05
"""How often memory is looked at: without and with a limit."""
_READ: Final = 65_536

log = logger("headrace.model")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model's own process may take: seconds to load and to answer a batch, and MB of memory."""

    load_s: float
    predict_s: float
    memory_mb: int | None


class Unreached(Broken):
    """The process was gone before it was asked: nothing of the batch has run."""


class ModelProcess:
    """A running process. One thread at a time may ask it; one thread, that which started it, watches it."""

    def __init__(self, start: Start, limits: Limits) -> None:
        """Start it, and let it load *start*; `watch` says when it has."""
        self.name = str(start.config.get("name") or "model")
        self.limits = limits
        self.ended = threading.Event()
        self.cause: Cause | None = None
        self._verdict: Cause | None = None
        self._kill = threading.Lock()
        self._kernel_kills = KernelKills()
        self._columns, self._answers = Segment(), Segment()
        self._lent = Lent(self._answers)
        self._channel, theirs = socket.socketpair()
        fds = (theirs.fileno(), self._columns.fd, self._answers.fd)
        warnings = [f"-W{option}" for option in sys.warnoptions]
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, *warnings, "-m", "headrace.infra.isolation.child",
                 *map(str, fds), str(os.getpid()), self.name],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=fds, start_new_session=True,
            )  # fmt: skip
        self.pid = self._popen.pid
        self._lines = _Lines(self.name, self.pid)
        self._loads_until: float | None = time.monotonic() + limits.load_s
        with suppress(Broken):  # it has ended already, which `watch` will tell
            send(self._channel, start)

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Run one batch. Raises what the model raises, Broken or Silent when there will be no answer."""
        self._ask(inputs, None, generate=False)
        answer = self._heard()
        if isinstance(answer, Answer):
            return self._lent.columns(answer)
        raise _not_an_answer(answer)

    def generate(
        self, inputs: Mapping[str, Column], deadline: float | None
    ) -> Generator[Mapping[str, Column], None, None]:
        """Yield chunks, each made when it is asked for. Raises as `predict`."""
        self._ask(inputs, deadline, generate=True)
        try:
            while isinstance(answer := self._heard_or_done(), Answer):
                yield self._lent.columns(answer)
                send(self._channel, Next(self._lent.room()))
        except GeneratorExit:
            send(self._channel, Next(None))
            self._heard_or_done()
            raise

    def _heard_or_done(self) -> FromProcess:
        answer = self._heard()
        if isinstance(answer, Answer | End):
            return answer
        raise _not_an_answer(answer)

    def _ask(self, inputs: Mapping[str, Column], deadline: float | None, *, generate: bool) -> None:
        try:
            columns, _, _ = pack(inputs, self._columns, WHOLE)
            call = Call(columns, self._columns.size, self._lent.room(), deadline, generate, outgoing() or None)
            send(self._channel, call)
        except Broken as error:
            raise Unreached(str(error)) from error
        except (TypeError, ValueError) as error:
            raise InvalidInput(str(error)) from error

    def _heard(self) -> FromProcess:
        try:
            heard: FromProcess = receive(self._channel, FROM_PROCESS)
        except Silent:
            seconds = self.limits.predict_s
            self.kill(Cause("timeout", f"it gave no answer within {seconds:g} s (process.predict_timeout_s)"))
            raise
        if isinstance(heard, Failed):
            raise error_of(heard)
        return heard

    def watch(self, on_loaded: Callable[[Loaded], object], on_refused: Callable[[Exception], object]) -> Cause:
        """Read what it writes until it has ended, and say why it did; blocks."""
        pidfd = os.pidfd_open(self.pid)
        poll = select.poll()
        output = self._popen.stdout
        assert output is not None
        os.set_blocking(output.fileno(), False)
        for fd in (pidfd, output.fileno(), self._channel.fileno()):
            poll.register(fd, select.POLLIN)
        look_s = LIMITED_LOOK_S if self.limits.memory_mb else LOOK_S
        try:
            while True:
                ready = {fd for fd, _ in poll.poll(look_s * 1e3)}
                if self._channel.fileno() in ready:
                    poll.unregister(self._channel.fileno())
                    self._hear_of_loading(on_loaded, on_refused)
                if output.fileno() in ready and not self._lines.read(output.fileno()):
                    poll.unregister(output.fileno())
                if pidfd in ready:
                    return self._bury()
                self._look()
        finally:
            os.close(pidfd)

    def _hear_of_loading(
        self, on_loaded: Callable[[Loaded], object], on_refused: Callable[[Exception], object]
    ) -> None:
        wait_at_most(self._channel, self.limits.load_s)
        try:
            heard: FromProcess = receive(self._channel, FROM_PROCESS)
        except (Broken, Silent):
            return  # it is ending, or will be ended when its time to load is over
        if isinstance(heard, Failed):
            self.kill(Cause("refused", f"it could not load its model: {heard.message}"))
            on_refused(error_of(heard))
        elif isinstance(heard, Loaded):
            self._loads_until = None
            wait_at_most(self._channel, self.limits.predict_s)
            on_loaded(heard)

    def _look(self) -> None:
        """End a process that takes too long to load, or too much memory."""
        if self._loads_until is not None and time.monotonic() >= self._loads_until:
            seconds = self.limits.load_s
            self.kill(Cause("timeout", f"it did not load within {seconds:g} s (process.load_timeout_s)"))
        most = self.limits.memory_mb
        if most is not None and (found := self.memory_bytes() // 2**20) > most:
            self.kill(
                Cause("out_of_memory", f"it took {found} MB of memory, more than {most} (process.memory_limit_mb)")
            )
        self._kernel_kills.look()

    def _bury(self) -> Cause:
        returncode = self._popen.wait()
        with self._kill:
            self.cause = self._verdict or cause_of(returncode, short_of_memory=self._kernel_kills.lately())
            self.ended.set()
        output = self._popen.stdout
        if output is not None:
            self._lines.read(output.fileno())
            output.close()
        return self.cause

    @property
    def last_lines(self) -> list[str]:
        """What it wrote last."""
        return list(self._lines.last)

    def kill(self, cause: Cause, *, wait_s: float = 0.0) -> None:
        """End it at once, for *cause*, unless it ends by itself within *wait_s*."""
        if wait_s and self.ended.wait(wait_s):
            return
        with self._kill:
            if not self.ended.is_set():
                self._verdict = self._verdict or cause
                self._popen.send_signal(signal.SIGKILL)

    def hang_up(self) -> None:
        """Tell it that nobody will ask again: it closes its model and ends."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has hung up before

    def close(self) -> None:
        """Let go of the channel and the shared memory, after the end."""
        self._channel.close()
        self._columns.close()
        self._answers.close()

    def memory_bytes(self) -> int:
        """Its resident memory; 0 once it has ended."""
        if self.ended.is_set():
            return 0
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0


def _not_an_answer(heard: object) -> Exception:
    return Broken(f"it said {type(heard).__name__} instead of an answer")


class _Lines:
    """What a process writes, into the log and, the last of it, into memory."""

    def __init__(self, name: str, pid: int) -> None:
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._name = name
        self._pid = pid
        self._rest = b""

    def read(self, fd: int) -> bool:
        """Take what is there; False when there will be no more."""
        try:
            content = os.read(fd, _READ)
        except BlockingIOError:
            return True
        *lines, rest = (self._rest + content).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        if not content and rest:
            lines.append(rest)
            self._rest = b""
        texts = [line[:LONGEST_LINE].decode(errors="replace").rstrip() for line in lines]
        for text in (text for text in texts[:LINES_PER_LOOK] if text):
            log.info(text, model=self._name, pid=self._pid)
        if (dropped := len(texts) - LINES_PER_LOOK) > 0:
            log.info(f"{dropped} more lines, which are left out", model=self._name, pid=self._pid)
        self.last.extend(text for text in texts if text)
        return bool(content)
