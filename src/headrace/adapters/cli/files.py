"""Which files on this machine do inputs name? ``{"file": ".."}`` is read here; over HTTP it means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.domain.errors import InvalidInput, NotFound


def with_files(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """*row* with the bytes of each file in the place of its ``{"file": PATH}``; paths start at *folder*.

    Raises NotFound for a file that is not there and InvalidInput for one that cannot be read.
    """
    return {name: _read(value, folder) for name, value in row.items()}


def _read(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_read(item, folder) for item in value]
    if isinstance(value, Mapping) and list(value) == ["file"] and isinstance(value["file"], str):
        return read_bytes(folder / value["file"])
    return value


def read_bytes(path: Path) -> bytes:
    """The content of *path*, which somebody named in their inputs."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise InvalidInput(f"the file {path} cannot be read: {error.strerror}") from error
