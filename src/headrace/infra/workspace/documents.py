"""What does each file of a configuration folder declare, and what can be saved of one that has mistakes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from headrace.core.config import Entry, ListNode, MapNode, Mistake, Node, Place, Reader, ScalarNode

T = TypeVar("T")
SUFFIXES = (".yaml", ".yml")
_LONGEST_MESSAGE = 600


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """A file and what it declares.

    *file* starts at the workspace's root. A document that is not *whole* had mistakes: what was wrong is left out of
    *spec*, so that the rest can be checked too. *kept* tells for lists that lost items which ones are left.
    """

    file: Path
    spec: T
    whole: bool = True
    where: str = ""
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The file's name without its suffix: the default of the name, and an alias of it."""
        return self.file.stem

    def key(self, *parts: str | int) -> str:
        """The dotted key of a value inside, as it stands in the file."""
        dotted = self.where
        for part in parts:
            if isinstance(part, int):
                indices = self.kept.get(dotted)
                dotted = f"{dotted}[{indices[part] if indices else part}]"
            else:
                dotted = f"{dotted}.{part}" if dotted else part
        return dotted


Defaults = Callable[[MapNode, str], Mapping[str, Any]]
"""What to take for absent keys of a document, given its content and its stem."""


def read_mappings(reader: Reader, folder: Path) -> list[str]:
    """The names of what *folder* declares, stems included; looked at no further than that each is a mapping."""
    names: list[str] = []
    for path in files_in(folder)[0]:
        node, _ = _content(reader, path, "")
        names += [path.stem, *([named] if (named := _name(node)) else [])]
    return names


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The YAML files of *folder* and the other visible ones, both sorted."""
    if not folder.is_dir():
        return [], []
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "_"))]
    return [path for path in visible if path.suffix in SUFFIXES], [
        path for path in visible if path.suffix not in SUFFIXES
    ]


def read_documents(
    reader: Reader, folder: Path, hint: type[T], defaults: Defaults, *, under: str = ""
) -> tuple[list[Document[T]], list[str]]:
    """The documents of *folder*, and the names of those of which nothing can be told.

    *under* is a key that may hold the whole content (``pipeline:``).
    """
    documents: list[Document[T]] = []
    lost: list[str] = []
    for path in files_in(folder)[0]:
        node, where = _content(reader, path, under)
        found = _decode(reader, node, hint, defaults(node, path.stem), where, _shown(reader, path)) if node else None
        if found is not None:
            documents.append(found)
        else:
            lost += [path.stem, *([named] if (named := _name(node)) else [])]
    return documents, lost


def _content(reader: Reader, path: Path, under: str) -> tuple[MapNode | None, str]:
    node = reader.document(path)
    if node is None:
        return None, ""
    if not isinstance(node, MapNode):
        reader.mistake(node, "found no mapping, wanted keys and values")
        return None, ""
    inner = node.get(under) if under else None
    if inner is None:
        return node, ""
    for key, entry in node.entries.items():
        if key != under:
            reader.mistake(entry.place, f"found it beside {under!r}, wanted it under that key", key)
    if not isinstance(inner, MapNode):
        reader.mistake(inner, "found no mapping, wanted keys and values", under)
        return None, ""
    return inner, under


def _decode(
    reader: Reader, node: MapNode, hint: type[T], defaults: Mapping[str, Any], where: str, file: Path
) -> Document[T] | None:
    before = len(reader.mistakes)
    spec = reader.decode(node, hint, where=where, defaults=defaults)
    if spec is not None:
        return Document(file, spec, where=where)
    wrong = reader.mistakes[before:]
    pruned = _Pruned({mistake.key for mistake in wrong})
    rest = pruned.map(node, where)
    noted = len(reader.mistakes)
    spec = reader.decode(rest, hint, where=where, defaults={"model": "", **defaults})
    del reader.mistakes[noted:]  # what is missing now has been reported as wrong before
    return None if spec is None else Document(file, spec, whole=False, where=where, kept=pruned.kept)


class _Pruned:
    """Copies a tree of nodes without what the mistakes are about."""

    def __init__(self, wrong: set[str]) -> None:
        self._wrong = wrong
        self.kept: dict[str, list[int]] = {}

    def map(self, node: MapNode, key: str) -> MapNode:
        entries: dict[str, Entry] = {}
        for name, entry in node.entries.items():
            dotted = f"{key}.{name}" if key else name
            if dotted not in self._wrong and not self._broken(entry.value):
                entries[name] = Entry(entry.place, entry.key, self._value(entry.value, dotted))
        return MapNode(node.place, entries)

    def _value(self, node: Node, key: str) -> Node:
        if isinstance(node, MapNode):
            return self.map(node, key)
        return self._list(node, key) if isinstance(node, ListNode) else node

    def _list(self, node: ListNode, key: str) -> ListNode:
        kept = [index for index, item in enumerate(node.items) if self._usable(item, f"{key}[{index}]")]
        if len(kept) < len(node.items):
            self.kept[key] = kept
        return ListNode(node.place, tuple(self._value(node.items[index], f"{key}[{index}]") for index in kept))

    def _usable(self, node: Node, key: str) -> bool:
        """Whether an item still makes sense without what is wrong in it: not if something is missing."""
        if key in self._wrong or self._broken(node):
            return False
        there = set(node.entries) if isinstance(node, MapNode) else set()
        missing = {wrong.removeprefix(f"{key}.") for wrong in self._wrong if wrong.startswith(f"{key}.")} - there
        return not any("." not in name and "[" not in name for name in missing)

    @staticmethod
    def _broken(node: Node) -> bool:
        return isinstance(node, ScalarNode) and node.broken


def _name(node: MapNode | None) -> str:
    name = node.get("name") if node is not None else None
    return name.text if isinstance(name, ScalarNode) else ""


def _shown(reader: Reader, path: Path) -> Path:
    return path.relative_to(reader.root) if path.is_relative_to(reader.root) else path


@dataclass(frozen=True, slots=True)
class Remarks:
    """Where to say what is wrong in one document; *prefix* leads to the part of it that is looked at."""

    reader: Reader
    document: Document[Any]
    prefix: tuple[str | int, ...] = ()

    def within(self, *prefix: str | int) -> Remarks:
        """The same for a part of the part."""
        return Remarks(self.reader, self.document, (*self.prefix, *prefix))

    def apart(self) -> tuple[Remarks, list[Mistake]]:
        """The same with a list of its own, for what turns out wrong when the files have long been read."""
        reader = copy(self.reader)
        reader.mistakes = []
        return Remarks(reader, self.document, self.prefix), reader.mistakes

    def add(self, owner: object, key: str | int | None, message: str) -> None:
        """Say that the value of *key* in *owner* (an object that the reader decoded) is wrong."""
        self.at(self.reader.place(owner, key), key, message)

    def at(self, place: Place, key: str | int | None, message: str) -> None:
        """Say that *key*, which may be missing, is wrong at *place*."""
        path = self.prefix if key is None else (*self.prefix, key)
        shown = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."
        self.reader.mistake(place, shown, self.document.key(*path))
