"""What do the configuration files say, and what is wrong with them?

Files are read strictly, against dataclasses that live with their owners. Nothing stops at the first mistake: a
`Reader` gathers them all, its own and those that owners add, each with its line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from headrace.core.constraints import Between, Constraint, Matches, OneOf, Secret
from headrace.core.decoding import FAILED, Decoder
from headrace.core.environment import Environment, read_dotenv
from headrace.core.mistakes import ConfigMistakes, Mistake, Place, did_you_mean, nearest
from headrace.core.settings import Setting, describe
from headrace.core.yaml_nodes import Entry, ListNode, MapNode, Node, ScalarNode, compose

__all__ = [
    "Between",
    "ConfigMistakes",
    "Constraint",
    "Entry",
    "ListNode",
    "MapNode",
    "Matches",
    "Mistake",
    "Node",
    "OneOf",
    "Place",
    "Reader",
    "ScalarNode",
    "Secret",
    "Setting",
    "describe",
    "did_you_mean",
    "nearest",
]

MAX_FILE_BYTES = 1024 * 1024

T = TypeVar("T")


class Reader:
    """Reads the files of one workspace and gathers the mistakes in them.

    *root* is the workspace, where paths start and `.env` lies. *environment* replaces the process's own; it wins
    over `.env`.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.mistakes: list[Mistake] = []
        self._places: dict[int, tuple[Any, Place, Mapping[Any, Place]]] = {}
        process = os.environ if environment is None else environment
        self._environment = Environment({**self._dotenv(), **process})

    def document(self, path: Path) -> Node | None:
        """The content of the file *path*; None if it cannot be read as YAML. An empty file is an empty mapping."""
        file = self._shown(path)
        text = self._text(self.root / path, file)
        return None if text is None else compose(text, file, report=self.mistake, expand=self._environment.expand)

    def decode(
        self, node: Node, hint: type[T], *, where: str = "", defaults: Mapping[str, Any] | None = None
    ) -> T | None:
        """*node* as *hint* wants it; None if it has mistakes. *where* is its dotted key, for messages.

        *defaults* gives values, not checked again, for keys of *node* that are absent; ``model.name`` reaches deeper.
        """
        prefix = f"{where}." if where else ""
        absolute = {f"{prefix}{key}": value for key, value in (defaults or {}).items()}
        decoder = Decoder(absolute, remember=self._remember, hide=self._environment.hide)
        value = decoder.value(node, hint, where)
        self.mistakes += decoder.mistakes
        return None if value is FAILED else cast(T, value)

    def read(self, path: Path, hint: type[T], defaults: Mapping[str, Any] | None = None) -> T | None:
        """The file *path* as *hint* wants it, with *defaults* for keys that it lacks; None if it has mistakes."""
        node = self.document(path)
        return None if node is None else self.decode(node, hint, defaults=defaults)

    def place(self, decoded: Any, key: str | int | None = None) -> Place:
        """Where *decoded*, or its key or item *key*, was written.

        A key that the file lacks has the place of the whole; an object that this reader did not decode, or that was
        `dataclasses.replace`d without `adopt`, has that of the folder `config`.
        """
        _, place, keys = self._places.get(id(decoded), (None, Place(Path("config"), 0), {}))
        return keys.get(key, place)

    def adopt(self, replacement: T, original: Any) -> T:
        """Give *replacement* the places of *original*, and return it."""
        if known := self._places.get(id(original)):
            self._places[id(replacement)] = (replacement, *known[1:])
        return replacement

    def mistake(self, where: Node | Place, message: str, key: str = "") -> None:
        """Add what an owner found wrong. What came from the environment is taken out of *message*."""
        place = where if isinstance(where, Place) else where.place
        self.mistakes.append(Mistake(place.file, place.line, self._environment.hide(message), key))

    def raise_if_any(self) -> None:
        """Raise ConfigMistakes if there are any."""
        if self.mistakes:
            raise ConfigMistakes(self.mistakes)

    def _remember(self, decoded: Any, place: Place, keys: Mapping[Any, Place]) -> None:
        # Python has only one empty tuple, which cannot have several places. The object is held so that its id stays
        # its own.
        if not isinstance(decoded, tuple) or decoded:
            self._places[id(decoded)] = (decoded, place, keys)

    def _shown(self, path: Path) -> Path:
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def _dotenv(self) -> dict[str, str]:
        path, file = self.root / ".env", Path(".env")
        text = self._text(path, file) if path.is_file() else None
        values: dict[str, str] = {}
        for binding in read_dotenv(text or ""):
            if isinstance(binding, int):
                self.mistakes.append(Mistake(file, binding, "found a line that is no assignment, wanted NAME=value"))
            elif binding[2] is not None:
                values[binding[1]] = binding[2]
        return values

    def _text(self, path: Path, file: Path) -> str | None:
        content = _content(path)
        if isinstance(content, str):
            self.mistakes.append(Mistake(file, 1, content))
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.mistakes.append(Mistake(file, line, f"found the byte 0x{content[error.start]:02x}, wanted UTF-8 text"))
            return None


def _content(path: Path) -> bytes | str:
    """The bytes of a file, or in words why there are none."""
    try:
        if path.is_dir():
            return "found a folder, wanted a YAML file"
        if path.exists() and not path.is_file():  # opening a pipe would wait for its other end
            return "found something that is no file, wanted a YAML file"
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        return f"found no such file{did_you_mean(path.name, siblings)}"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        return f"found a file that cannot be read ({getattr(error, 'strerror', None) or 'bad path'})"
    if len(content) > MAX_FILE_BYTES:
        return f"found more than {MAX_FILE_BYTES // 1024} KiB, wanted a configuration file"
    return content
