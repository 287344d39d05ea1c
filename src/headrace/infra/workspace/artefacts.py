"""Which bytes is a model made of, where do they lie, and have they changed?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PICKLED: Final = (".pkl", ".pickle", ".joblib")
"""Formats that can run any code when they are read."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: str) -> bool:
    """Whether *path* names an object in a store rather than a file."""
    return _URL.match(path) is not None


class Digests:
    """SHA-256 of files and folders; a file that has not been touched since is not read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, str]] = {}

    def artefact(self, path: Path) -> str:
        """The digest of a file, as `sha256sum` prints it; of a folder, that over the names and digests inside it."""
        if not path.is_dir():
            return self._file(path)
        return self._all((file.relative_to(path).as_posix(), file) for file in _files_in(path))

    def with_neighbours(self, path: Path) -> str:
        """The digest of an artefact with the files whose names go on from its own (``model.onnx.data``)."""
        if path.is_dir():
            return self.artefact(path)
        return self._all((file.name, file) for file in sorted(path.parent.glob(f"{path.name}*")) if file.is_file())

    def files(self, paths: list[Path]) -> str:
        """One digest over several files, wherever they lie."""
        return self._all((path.name, path) for path in paths)

    def _all(self, files: Iterator[tuple[str, Path]]) -> str:
        whole = hashlib.sha256()
        for name, file in files:
            whole.update(f"{name}\0{self._file(file)}\n".encode())
        return whole.hexdigest()

    def _file(self, path: Path) -> str:
        stat = path.stat()
        # A file may be replaced by another of the same size and time; its inode and its change time tell.
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._known.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[path] = (seen, digest)
        return digest


def _files_in(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))
