"""Who starts the worker processes of a server, starts them again when they die, and ends them together?"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from headrace.core.logging import logger
from headrace.core.processors import library_threads
from headrace.services.crew import Crew, Member
from headrace.services.worker_messages import Begin, Line, Stop

PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a worker that died is started again; the last one repeats."""
SETTLED_S: Final = 60.0
"""A worker that lived as long as this died for a new reason: the pauses begin anew."""
FAREWELL_S: Final = 15.0
"""How long a worker may take beyond its time to finish, closing its models, before it is killed."""

log = logger("headrace")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run: *begin* as every worker gets it, behind *listener*, for at most *stop_s* after the signal.

    *closed* is what stands in the file of `begin.counts` for a worker that is not there.
    """

    begin: Begin
    listener: socket.socket
    url: str
    stop_s: float
    closed: bytes


@dataclass(frozen=True, slots=True)
class End:
    """How a worker ended: the *cause*, and what the server would say and exit with if it could not go on.

    *hopeless*: the configuration does not hold, so that the next worker would end alike.
    """

    cause: str
    message: str
    code: int = 1
    hopeless: bool = False


def supervise(plan: Plan) -> int:
    """Run the workers of *plan* until SIGTERM or SIGINT; returns the exit code."""
    return asyncio.run(_Supervisor(plan).run())


class _Supervisor:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._crew = Crew()
        self._stop = asyncio.Event()
        self._opened = False
        self._given_up: End | None = None
        self._cut = 0
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        keeping = [asyncio.create_task(self._keep(number)) for number in range(1, self._plan.begin.workers + 1)]
        opening = asyncio.create_task(self._open())
        watching = asyncio.create_task(self._crew.watch())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        opening.cancel()
        watching.cancel()
        await self._end(keeping)
        if self._given_up is not None:
            sys.stderr.write(f"error: {self._given_up.message}\n")
            return self._given_up.code
        if self._cut:
            log.warning("stopped with requests unanswered", cut=self._cut)
        return 0

    def _asked_to_stop(self, number: int) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            self._kill()
            os._exit(130)
        if not self._stop.is_set():
            log.info("stopping: finishing what was accepted; Ctrl-C again to stop at once")
        self._stop.set()

    async def _open(self) -> None:
        """Say that the server is ready once all of its workers are."""
        while not self._opened:
            await self._crew.changed.wait()
            self._crew.changed.clear()
            found = [member.ready for member in self._crew if member.ready is not None]
            self._opened = len(found) == self._plan.begin.workers
        self._crew.open()
        log.info(
            "ready",
            url=self._plan.url,
            workers=len(found),
            pipelines=list(found[0].pipelines),
            streams=list(found[0].streams),
        )

    async def _keep(self, number: int) -> None:
        """Have one worker of this *number* running, again and again until the end."""
        deaths = 0
        while not self._stop.is_set():
            began = asyncio.get_running_loop().time()
            end = await self._lived(number)
            if self._stop.is_set():
                return
            if not self._opened or (end.hopeless and not any(one.state == "ready" for one in self._crew)):
                self._give_up(end)
                return
            self._crew.restarts[end.cause] += 1
            deaths = 0 if asyncio.get_running_loop().time() - began > SETTLED_S else deaths
            pause = PAUSES_S[min(deaths, len(PAUSES_S) - 1)]
            deaths += 1
            log.error("a worker ended", worker=number, cause=end.cause, reason=end.message, again_in_s=pause)
            await self._pause(pause)

    async def _lived(self, number: int) -> End:
        """Start a worker, attend to it, and tell how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *_command(theirs.fileno()),
                pass_fds=(theirs.fileno(), self._plan.listener.fileno(), self._plan.begin.counts),
                env=library_threads(self._plan.begin.workers, os.environ),
                process_group=0,  # Ctrl-C is for the supervisor, which tells the workers
            )
        self._processes[number] = process
        member = Member(number, await Line.over(ours))
        self._crew.join(member)
        member.line.send(self._begin(number))
        if self._stop.is_set():  # it was on its way when the others were told
            member.line.send(Stop())
        await self._crew.attend(member)
        code = await process.wait()
        del self._processes[number]
        os.pwrite(self._plan.begin.counts, self._plan.closed, (number - 1) * len(self._plan.closed))
        await member.line.close()
        if member.ended is not None:
            self._cut += member.ended.cut
        return _end(number, code, member)

    def _begin(self, number: int) -> Begin:
        return msgspec.structs.replace(self._plan.begin, number=number, late=self._opened, wishes=self._crew.wishes)

    def _give_up(self, end: End) -> None:
        if self._given_up is None:
            self._given_up = end
        self._stop.set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _end(self, keeping: list[asyncio.Task[None]]) -> None:
        """Let the workers finish; those that take too long are killed."""
        self._plan.listener.close()  # else callers would go on queueing behind workers that have gone
        self._crew.stop()
        _, late = await asyncio.wait(keeping, timeout=self._plan.stop_s + FAREWELL_S)
        if late:
            log.error("workers did not end in time and are killed", workers=len(self._processes))
            self._kill()
        await asyncio.gather(*keeping)

    def _kill(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever the worker has started


def _command(line: int) -> list[str]:
    """The same interpreter with the same warnings, as a worker whose line is the file descriptor *line*."""
    return [sys.executable, *(f"-W{option}" for option in sys.warnoptions), "-m", "headrace.worker", str(line)]


def _end(number: int, code: int, member: Member) -> End:
    cause = signal_name(-code) if code < 0 else f"exit code {code}"
    if member.failed is not None:
        return End(cause, member.failed.message, member.failed.code, hopeless=member.failed.code == 2)
    told = f"{cause}, perhaps because memory ran out" if code == -signal.SIGKILL else cause
    return End(cause, f"worker {number} ended by {told}")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; the number itself where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
