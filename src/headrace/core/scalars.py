"""What does a single YAML value mean, by itself and where a certain type is wanted?

By itself as in YAML 1.2: only ``true`` and ``false`` are booleans, so the labels ``[yes, no]`` stay words; dates and
``1:30`` are text. Where the hint says what is wanted, the hint decides: ``version: 1.10`` for text is "1.10".
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from headrace.core.hints import is_secret
from headrace.core.yaml_nodes import ScalarNode


class Mismatch:
    """The value is not of the wanted type."""


MISMATCH: Final = Mismatch()

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_PREFIXED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_YES_OR_NO = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_ONE_OR_ZERO = {"1": True, "0": False}
_LONGEST_NUMBER = 400  # characters; Python refuses to parse far longer ones


def natural(node: ScalarNode) -> bool | int | float | str | None:
    """What the value is where nothing says what it should be."""
    return plain_value(node.text) if node.plain else node.text


def plain_value(text: str) -> bool | int | float | str | None:
    """What *text* means when it is written without quotes."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    if text.lower() in _NOT_FINITE:
        return float(_NOT_FINITE[text.lower()])
    if len(text) > _LONGEST_NUMBER:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, base=0)
    # A leading zero belongs to a code ("007"), not to a number, unless a fraction follows.
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return float(text)
    return None


def convert(node: ScalarNode, hint: Any) -> Any:
    """The value as *hint* wants it, or MISMATCH. Raises TypeError for a hint that no single value can have."""
    if get_origin(hint) is Literal:
        return _literal(node, get_args(hint))
    if hint is None or hint is NoneType:
        empty = node.expanded and not node.text
        return None if empty or natural(node) is None else MISMATCH
    if hint is bool:
        return _boolean(node)
    if hint is int or hint is float:
        return _numeric(node, hint)
    if hint is str:
        return _text(node)
    if hint is Path:
        text = _text(node)
        return Path(text) if isinstance(text, str) and text else MISMATCH
    if is_secret(hint):
        text = _text(node)
        return hint(text) if isinstance(text, str) else MISMATCH
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _member(node, hint)
    raise TypeError(f"the configuration reader does not know the type {hint!r}")


def exactness(node: ScalarNode, hint: Any) -> int:
    """How directly *hint* says what the value is by itself; 0 is best. Decides between the types of a union."""
    value = natural(node)
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return 0
    if hint is None or hint is NoneType:
        return 0 if value is None else 2
    if hint is float and type(value) is int:
        return 1
    if hint is Path or is_secret(hint):
        hint = str
    return 0 if hint is type(value) else 2


def _text(node: ScalarNode) -> Any:
    value = natural(node)
    if node.expanded:
        return node.text
    return MISMATCH if value is None or isinstance(value, bool) else node.text


def _boolean(node: ScalarNode) -> Any:
    if not (node.plain or node.expanded):
        return MISMATCH
    word = node.text.lower()
    if node.expanded and word in _ONE_OR_ZERO:
        return _ONE_OR_ZERO[word]
    return _YES_OR_NO.get(word, MISMATCH)


def _numeric(node: ScalarNode, hint: type[int] | type[float]) -> Any:
    value = _number(node.text) if node.plain or node.expanded else None
    if hint is int or value is None:
        return value if type(value) is int else MISMATCH
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _literal(node: ScalarNode, allowed: tuple[Any, ...]) -> Any:
    for value in allowed:
        # Compared by type too: 1 == True in Python, and not in anybody's configuration.
        found = node.text if isinstance(value, str) else convert(node, type(value))
        if found is not MISMATCH and found == value:
            return value
    return MISMATCH


def _member(node: ScalarNode, kind: type[Enum]) -> Any:
    found = _literal(node, tuple(member.value for member in kind))
    return MISMATCH if found is MISMATCH else kind(found)
