"""Has a file of the workspace changed? Told by names, sizes and times alone, so that asking often costs little."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

Fingerprint = tuple[tuple[str, int, int], ...]

_SKIPPED = ("__pycache__",)


def fingerprint(*paths: Path) -> Fingerprint:
    """The (path, time, size) of every file at or under *paths*; what is missing or goes meanwhile has none."""
    found = {entry for path in paths for entry in _entries(path)}
    return tuple(sorted(found))


def _entries(path: Path) -> Iterator[tuple[str, int, int]]:
    if path.is_file():
        yield from _entry(str(path))
        return
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        for name in files:
            yield from _entry(os.path.join(folder, name))  # noqa: PTH118  a Path per file would double the cost


def _entry(path: str) -> Iterator[tuple[str, int, int]]:
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return
    yield path, stat.st_mtime_ns, stat.st_size
