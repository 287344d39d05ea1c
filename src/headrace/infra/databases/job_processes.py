"""Which process runs a job, and is it still there? What another machine runs, nobody can tell from here."""

from __future__ import annotations

import hashlib
import socket
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

HOST: Final = socket.gethostname()
_ENDED: Final = ("Z", "X")
"""States of processes that do nothing any more: one that was killed stays until its parent has noticed."""


def mark(pid: int) -> str:
    """What tells the process *pid* from every other one, on any machine and before or after a restart of it.

    A number alone does not: it is given again, and each container counts its own.
    """
    return f"{_place()}:{_began(pid) or ''}"


def is_gone(pid: int, marked: str) -> bool:
    """Whether the process that was *marked* is surely not there any more; False for one of another place."""
    place, _, began = marked.partition(":")
    return place == _place() and _began(pid) != (began or None)


@lru_cache(maxsize=1)
def _place() -> str:
    """This machine since it was started, or this container of it: where a number stands for one process."""
    parts = [HOST]
    with suppress(OSError):  # no Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _began(pid: int) -> str | None:
    """When the process *pid* began, by the kernel's own count; None if there is none."""
    try:
        # The second field, the program's name in brackets, may hold blanks and brackets of its own.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _ENDED else fields[19]
