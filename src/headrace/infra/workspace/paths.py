"""Is there such a file in the workspace, and which one was probably meant?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headrace.core.config import did_you_mean

_LONGEST_SHOWN = 80


def exists(path: Path) -> bool:
    """Whether there is a file or a folder; what cannot be a path (too long, a null byte) is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def no_file(root: Path, path: str, candidates: Iterable[Path] = ()) -> str:
    """What to say of a *path* that leads nowhere: its neighbours and the *candidates* are looked through."""
    beside = (root / path).parent
    there = [*candidates, *(beside.iterdir() if exists(beside) and beside.is_dir() else ())]
    inside = [file.relative_to(root).as_posix() for file in there if file.is_relative_to(root)]
    meant = next((f" (did you mean {name!r}?)" for name in inside if name.endswith(f"/{path}")), None)
    shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}..."
    return f"found no file {shown!r}{meant or did_you_mean(path, inside)}; paths start at the workspace"
