"""Why did a model's process end? By a signal, for lack of memory, by itself, or because it took too long."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Kind = Literal["signal", "out_of_memory", "exit", "timeout", "refused"]

_VMSTAT: Final = Path("/proc/vmstat")


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


def kernel_kills() -> int:
    """How many processes of this machine the kernel has killed for lack of memory; 0 where it does not tell."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
