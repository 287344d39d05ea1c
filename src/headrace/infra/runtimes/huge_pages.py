"""How do the weights of a model get into huge pages? Linux is asked for them, where it leaves that to programs.

A call reads all weights, and the processor remembers the places of too few pages of 4 kB for 23 MB of them. In pages of
2 MB, ONNX Runtime took 0.96 of the time for the MLP of that size with 32 rows on one thread, and 0.9 with one row. With
`never` in /sys/kernel/mm/transparent_hugepage/enabled nothing changes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LEAST_BYTES: Final = 4 << 20
"""Weights that are smaller stay in the caches, with the places of their pages."""
PAGE: Final = 2 << 20

MAPS: Final = Path("/proc/self/smaps")
MADV_HUGEPAGE: Final = 14
MADV_COLLAPSE: Final = 25
"""At once; before Linux 6.1 it is unknown, and a thread of the system does it within a minute."""

Areas = Mapping[int, int]
"""The end of each area of memory, by its beginning."""


@contextmanager
def huge_pages(weights: int) -> Iterator[None]:
    """Put what is allocated in the block, and stays, into huge pages, if there are that many bytes of *weights*.

    Only a wish: whatever the system says to it, the memory is there and holds what it held.
    """
    if weights < LEAST_BYTES:
        yield
        return
    before = _areas()
    yield
    for begin, end in whole_pages(before, _areas()):
        _advise(begin, end - begin)


def whole_pages(before: Areas, now: Areas) -> Iterator[tuple[int, int]]:
    """From where to where there are whole huge pages in what has come to the areas since *before*."""
    for begin, end in now.items():
        first = -(-max(begin, before.get(begin, begin)) // PAGE) * PAGE
        last = end // PAGE * PAGE
        if first < last:
            yield first, last


def used_areas(maps: str) -> dict[int, int]:
    """What of *maps* may be written, is of no file, and is in use for the most part: the stack of a thread is not."""
    found = {}
    begin = end = 0
    for line in maps.splitlines():
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):
            rights, _, _, inode, *name = rest
            mine = rights == "rw-p" and inode == "0" and name in ([], ["[heap]"])
            begin, end = (int(part, 16) for part in first.split("-")) if mine else (0, 0)
        elif first == "Rss:" and 2 * 1024 * int(rest[0]) > end - begin > 0:
            found[begin] = end
    return found


def _areas() -> dict[int, int]:
    try:
        return used_areas(MAPS.read_text())
    except OSError:  # not on Linux
        return {}


def _advise(begin: int, size: int) -> None:
    madvise = ctypes.CDLL(None).madvise
    for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), advice)
