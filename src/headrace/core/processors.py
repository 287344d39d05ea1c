"""How many processors may this process use, and how many of them are for each of several workers?"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")

LIBRARY_THREADS: Final = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
"""What numerical libraries (OpenBLAS, MKL, OpenMP, PyTorch) and tokenizers read when they start their threads."""


def processors(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Those that this process may be on, or as many as a container's share of time comes to; at least one."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on Linux
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *_quotas(cgroups, membership)]))


def share(workers: int, found: int | None = None) -> int:
    """The processors for each of *workers*, of those *found* (all, if nothing is said); at least one."""
    return max(1, (processors() if found is None else found) // workers)


def library_threads(workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """*environment* for one of *workers*, in which libraries start no more threads than its share.

    What somebody has set stays.
    """
    return {**dict.fromkeys(LIBRARY_THREADS, str(share(workers))), **environment}


def threads_of_library(environment: Mapping[str, str] = os.environ) -> int:
    """How many threads a library may start for one call: what is said to libraries, or one for each processor."""
    said = environment.get(LIBRARY_THREADS[0], "")
    return int(said) if said.isdigit() and int(said) > 0 else processors()


def _quotas(cgroups: Path, membership: Path) -> list[int]:
    """Whole processors by the quotas of this process's control group (version 2) and of those above it."""
    group = next((line[3:] for line in _lines(membership) if line.startswith("0::")), "/")
    folder = cgroups / group.strip("/")
    found = []
    for path in (folder, *folder.parents):
        if not path.is_relative_to(cgroups):
            break
        for line in _lines(path / "cpu.max")[:1]:
            quota, _, period = line.partition(" ")
            if quota.isdigit() and period.isdigit() and int(period) > 0:
                found.append(math.ceil(int(quota) / int(period)))
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
