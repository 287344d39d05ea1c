"""How much memory does this process take, and how much more is it with a model?"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_bytes() -> int:
    """The bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def taken_since(before: int, artefact: str) -> int:
    """Bytes that a model has taken since there were *before*.

    At least the size of its file, for freed memory is used again. Models that load at the same time are each told all.
    """
    try:
        size = Path(artefact).stat().st_size if Path(artefact).is_file() else 0
    except (OSError, ValueError):
        size = 0
    return max(size, resident_bytes() - before)


def give_back() -> None:
    """Return what was freed to the system, where the C library keeps it otherwise (glibc, which does so by thread).

    Without it, loading and unloading a model of 6 MB in turn took 80 MB more every time for a while.
    """
    gc.collect()  # what was loaded refers to itself in many places, and a server collects rarely
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
