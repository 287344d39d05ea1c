"""Which code of its workspace is a model made of? Told by the modules that its process has imported."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ELSEWHERE: Final = ("site-packages", "dist-packages")
"""Folders of installed packages, which a workspace may hold within a virtual environment."""


def code_digest(root: Path) -> str:
    """The SHA-256 over the names and contents of the imported files below *root*; empty if there are none."""
    files = sorted(set(_imported(root)))
    whole = hashlib.sha256()
    for file in files:
        try:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError:  # it was there when it was imported
            content = "gone"
        whole.update(f"{file.relative_to(root)}\0{content}\n".encode())
    return whole.hexdigest() if files else ""


def _imported(root: Path) -> Iterator[Path]:
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not isinstance(name, str):
            continue
        file = Path(name)
        if file.is_relative_to(root) and not any(part in _ELSEWHERE for part in file.parts):
            yield file
