"""Why did a model's process end? By a signal, for lack of memory, by itself, or because it took too long."""

from __future__ import annotations

import signal
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["signal", "out_of_memory", "exit", "timeout", "refused"]

VMSTAT: Final = Path("/proc/vmstat")
LATELY_S: Final = 5.0
"""How long a process that the kernel kills for its memory may take to end: giving back many gigabytes takes a while."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The *kind* is what metrics count; *text* says it to people: ``killed by SIGSEGV``."""

    kind: Kind
    text: str


def cause_of(returncode: int, *, short_of_memory: bool) -> Cause:
    """What *returncode* (as of `subprocess`) means; *short_of_memory*: the kernel killed for memory just now."""
    if returncode >= 0:
        return Cause("exit", f"it ended by itself with exit code {returncode}")
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    if name == "SIGKILL" and short_of_memory:
        return Cause("out_of_memory", "killed by the kernel (SIGKILL), which was out of memory")
    return Cause("signal", f"killed by {name}")


class KernelKills:
    """Whether the kernel has killed a process of this machine for lack of memory within the last *lately_s* seconds.

    It tells by a number in *counters*, which somebody has to `look` at from time to time; where the system does not
    tell, nothing was killed.
    """

    def __init__(self, counters: Path = VMSTAT, lately_s: float = LATELY_S) -> None:
        self._counters = counters
        self._lately_s = lately_s
        self._seen = deque([(time.monotonic(), self._count())])

    def look(self) -> None:
        """Note how many there are by now."""
        now = time.monotonic()
        if now < self._seen[-1][0] + self._lately_s / 10:
            return
        self._seen.append((now, self._count()))
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._lately_s:
            self._seen.popleft()

    def lately(self) -> bool:
        """Whether there are more than there were."""
        return self._count() > self._seen[0][1]

    def _count(self) -> int:
        try:
            lines = self._counters.read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
