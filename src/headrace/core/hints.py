"""What does the type hint of a setting allow, and how is that put in words?"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from dataclasses import MISSING, dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin

from headrace.core.constraints import Constraint, OneOf, listed


@dataclass(frozen=True, slots=True)
class Key:
    """A field of a dataclass as a YAML key; *default* is `MISSING` if the key is required."""

    name: str
    field: str
    hint: Any
    default: Any
    doc: str

    @property
    def required(self) -> bool:
        """Whether a file must hold the key."""
        return self.default is MISSING


@cache
def keys_of(cls: type) -> dict[str, Key]:
    """The YAML keys that the dataclass *cls* declares."""
    hints = typing.get_type_hints(cls, include_extras=True)
    keys: dict[str, Key] = {}
    for field in dataclasses.fields(cls):
        if field.init:
            name = field.metadata.get("key", field.name)
            default = field.default if field.default_factory is MISSING else field.default_factory()
            keys[name] = Key(name, field.name, hints[field.name], default, field.metadata.get("doc", ""))
    return keys


def unwrap(hint: Any) -> tuple[Any, tuple[Constraint, ...]]:
    """The type under NewType and Annotated, and the constraints on the way; other annotations are skipped."""
    constraints: list[Constraint] = []
    while True:
        if get_origin(hint) is typing.Annotated:
            constraints += [extra for extra in hint.__metadata__ if callable(getattr(extra, "accepts", None))]
            hint = hint.__origin__
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        else:
            return hint, tuple(constraints)


def is_union(hint: Any) -> bool:
    """Whether *hint* is ``A | B``."""
    return get_origin(hint) in (Union, types.UnionType)


def is_record(hint: Any) -> bool:
    """Whether *hint* is a dataclass."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and not is_secret(hint)


def is_secret(hint: Any) -> bool:
    """Whether *hint* is `Secret` or a class like it: one that can `reveal`."""
    return isinstance(hint, type) and callable(getattr(hint, "reveal", None))


def holds_secret(hint: Any) -> bool:
    """Whether a value of *hint*, outside nested collections, would be a secret."""
    hint, _ = unwrap(hint)
    return any(map(holds_secret, get_args(hint))) if is_union(hint) else is_secret(hint)


def collection(hint: Any) -> type | None:
    """``list``, ``tuple`` or ``dict`` for the hints of collections; a Sequence is read as a tuple."""
    origin = get_origin(hint) or hint
    if origin in (collections.abc.Mapping, collections.abc.MutableMapping, dict):
        return dict
    if origin in (tuple, collections.abc.Sequence):
        return tuple
    return list if origin is list else None


def alternatives(hint: Any) -> list[Any]:
    """The types that *hint* allows, through unions; the constraints of a union go to each of its types."""
    bare, constraints = unwrap(hint)
    if not is_union(bare):
        return [hint]
    arms = [arm for part in get_args(bare) for arm in alternatives(part)]
    return [typing.Annotated[(arm, *constraints)] for arm in arms] if constraints else arms


def spellings(hint: Any) -> list[str]:
    """The fixed words that *hint* allows, for suggesting one."""
    words: list[str] = []
    for arm in alternatives(hint):
        bare, constraints = unwrap(arm)
        words += [str(value) for value in _fixed(bare) if isinstance(value, str)]
        words += [str(value) for c in constraints if isinstance(c, OneOf) for value in c.values]
        words += ["true", "false"] if bare is bool else []
    return words


def wording(hint: Any) -> str:
    """*hint* in the words of somebody who writes YAML: ``an integer from 1 to 65535``."""
    bare, constraints = unwrap(hint)
    return " ".join([_bare_wording(bare), *map(str, constraints)])


_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", Path: "a path", Any: "anything"}


def _bare_wording(hint: Any) -> str:
    if is_union(hint):
        return " or ".join(wording(arm) for arm in get_args(hint))
    if hint is None or hint is NoneType:
        return "null"
    if hint in _WORDS:
        return _WORDS[hint]
    if is_secret(hint):
        return "text (secret)"
    if values := _fixed(hint):
        return listed(values)
    if is_record(hint):
        return f"a mapping ({', '.join(keys_of(hint))})"
    return _collection_wording(hint)


def _collection_wording(hint: Any) -> str:
    kind, arguments = collection(hint), get_args(hint)
    if kind is dict:
        return f"a mapping (each value: {wording(arguments[1])})" if arguments else "a mapping"
    if kind is tuple and arguments and get_origin(hint) is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} ({', '.join(map(wording, arguments))})"
    if kind is not None:
        return f"a list (each: {wording(arguments[0])})" if arguments else "a list"
    return getattr(hint, "__name__", str(hint))


def _fixed(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(member.value for member in hint)
    return ()
