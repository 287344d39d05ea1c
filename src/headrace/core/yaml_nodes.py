"""Which values does a YAML text hold, and on which line does each stand?

The text becomes a tree of nodes that know their place. Nothing is ever constructed from a tag, and size, depth and
the growth of aliases are bounded before they can hurt. Keys are the text that was written, so ``on:`` stays ``on``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from headrace.core.environment import Expansion
from headrace.core.mistakes import Place, did_you_mean

MAX_DEPTH = 64
MAX_VALUES = 100_000  # after aliases are followed

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode:
    """A single value.

    *text* has its references expanded, *written* has not. A *broken* value's references cannot be expanded, which
    has been reported.
    """

    place: Place
    text: str
    written: str
    plain: bool = True  # without quotes
    expanded: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ListNode:
    """A sequence."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapNode:
    """A mapping, by the keys' text as written; merge keys (``<<``) are resolved."""

    place: Place
    entries: Mapping[str, Entry]

    def get(self, key: str) -> Node | None:
        """The value under *key*, or None."""
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    def __contains__(self, key: str) -> bool:
        return key in self.entries


Node = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A key and its value; *place* is the key's."""

    place: Place
    key: ScalarNode
    value: Node


Report = Callable[[Place, str], None]


def compose(text: str, file: Path, *, report: Report, expand: Callable[[str], Expansion]) -> Node | None:
    """The value that *text* holds, an empty mapping for an empty text; None if it cannot be read.

    Everything that is wrong goes to *report*; after a duplicate key or an unset variable reading goes on.
    """
    if bad := _CONTROL.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        report(Place(file, line), f"found the control character {bad[0]!r}, wanted text")
        return None
    composer = _Composer(file, len(text.rstrip().splitlines()), report, expand)
    try:
        for event in _events(text):
            composer.take(event)
    except _Unreadable as stop:
        report(Place(file, stop.line), stop.message)
        return None
    except yaml.MarkedYAMLError as error:
        report(*_syntax_mistake(error, text, file))
        return None
    except yaml.YAMLError:  # a character that YAML does not allow
        report(Place(file, 1), "found a character that YAML does not allow, wanted text")
        return None
    return composer.root or MapNode(Place(file, 1), {})


class _Unreadable(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    place: Place
    is_map: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    size: int = 1

    @property
    def wants_key(self) -> bool:
        return self.is_map and len(self.items) % 2 == 0


class _Composer:
    def __init__(self, file: Path, last_line: int, report: Report, expand: Callable[[str], Expansion]) -> None:
        self.root: Node | None = None
        self._file = file
        self._last_line = max(1, last_line)
        self._report = report
        self._expand = expand
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        # The parser puts the empty value at the end of a file on the line after it.
        line = event.start_mark.line + 1 if event.start_mark else 1
        place = Place(self._file, min(line, self._last_line))
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _Unreadable(place.line, f"found the tag {event.tag}, wanted plain YAML: leave the tag away")
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _Unreadable(place.line, "found a second document, wanted one per file: remove '---'")
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= MAX_DEPTH:
                raise _Unreadable(place.line, f"nested deeper than {MAX_DEPTH} levels")
            self._open.append(_Open(place, isinstance(event, yaml.MappingStartEvent), event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            self._add(self._collection(closed), closed.size, closed.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(*self._target(event, place))
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event, place), 1, event.anchor)

    def _add(self, node: Node, size: int, anchor: str | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.items.append(node)
        parent.size += size
        if parent.size > MAX_VALUES:
            raise _Unreadable(node.place.line, f"found more than {MAX_VALUES} values (aliases count in full)")

    def _target(self, event: yaml.AliasEvent, place: Place) -> tuple[Node, int]:
        name = event.anchor or ""
        if any(collection.anchor == name for collection in self._open):
            raise _Unreadable(place.line, f"found *{name} inside &{name}: it would contain itself")
        if name not in self._anchors:
            meant = did_you_mean(name, self._anchors)
            raise _Unreadable(place.line, f"found *{name}, but nothing above is marked &{name}{meant}")
        return self._anchors[name]

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> ScalarNode:
        plain = not event.style
        if self._open and self._open[-1].wants_key:
            return ScalarNode(place, event.value, event.value, plain)
        expansion = self._expand(event.value)
        if expansion.problem is not None:
            self._report(place, expansion.problem)
        broken = expansion.problem is not None
        return ScalarNode(place, expansion.text, event.value, plain, expansion.expanded, broken)

    def _collection(self, closed: _Open) -> Node:
        if not closed.is_map:
            return ListNode(closed.place, tuple(closed.items))
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in zip(closed.items[::2], closed.items[1::2], strict=True):
            if not isinstance(key, ScalarNode) or key.expanded or key.broken:
                found = "a list" if isinstance(key, ListNode) else "a mapping"
                found = "a value from the environment" if isinstance(key, ScalarNode) else found
                self._report(key.place, f"found {found} as a key, wanted text (quote values that start with a brace)")
            elif key.plain and key.text == "<<":
                merged = {**self._merged(value), **merged}
            elif key.text in entries:
                first = entries[key.text].place.line
                self._report(key.place, f"found the key {key.text!r} again (first on line {first}): keep one")
            else:
                entries[key.text] = Entry(key.place, key, value)
        return MapNode(closed.place, {**merged, **entries})

    def _merged(self, value: Node) -> dict[str, Entry]:
        sources = value.items if isinstance(value, ListNode) else (value,)
        merged: dict[str, Entry] = {}
        for source in reversed(sources):  # the first to have a key wins
            if isinstance(source, MapNode):
                merged.update(source.entries)
            else:
                self._report(source.place, "found no mapping after '<<', wanted one, or a list of them")
        return merged


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=_LOADER)


def _syntax_mistake(error: yaml.MarkedYAMLError, text: str, file: Path) -> tuple[Place, str]:
    mark = error.problem_mark or error.context_mark
    lines = text.split("\n")
    number = min(mark.line if mark else 0, len(lines) - 1)
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    return Place(file, number + 1), f"found no valid YAML ({problem}){_advice(lines[number])}"


def _advice(line: str) -> str:
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return ": indent with spaces, not with tabs"
    if "${" in line:
        return ': inside [ ] and { } put references in quotes, as in "${NAME}"'
    if re.search(r":\s+[@`%*&!|>]", line):
        return ": put a value that starts with a sign in quotes"
    if line.count(": ") > 1:
        return ": put a value that contains ': ' in quotes"
    return ""
