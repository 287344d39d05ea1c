"""Which settings does a dataclass declare? For the reference pages, and for the test that compares the two."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, NamedTuple, get_args

from headrace.core.hints import alternatives, collection, is_record, keys_of, unwrap, wording
from headrace.core.scalars import plain_value


class Setting(NamedTuple):
    """A row of the settings reference."""

    key: str
    type: str
    default: str
    doc: str


def as_yaml(value: Any) -> str:
    """A default as one would write it; dataclasses are shown key by key instead, so they give nothing."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return as_yaml(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if dataclasses.is_dataclass(value):
        return ""
    text = str(value)
    return f'"{text}"' if isinstance(value, str) and plain_value(text) != text else text


def describe(hint: Any) -> list[Setting]:
    """Every setting that the dataclass *hint* declares: dotted key, type, default and what its ``doc`` says.

    Lists go on as ``steps[].name``, mappings as ``databases.<name>.host``. A required key's default is "required".
    """
    return _rows(hint, "", ())


def _rows(cls: type, prefix: str, above: tuple[type, ...]) -> list[Setting]:
    rows: list[Setting] = []
    for key in keys_of(cls).values():
        dotted = f"{prefix}{key.name}"
        default = "required" if key.required else as_yaml(key.default)
        rows.append(Setting(dotted, wording(key.hint), default, key.doc))
        for record, suffix in _records_in(key.hint):
            if record not in (cls, *above):  # a type that contains itself would never end
                rows += _rows(record, f"{dotted}{suffix}.", (cls, *above))
    return rows


def _records_in(hint: Any) -> list[tuple[type, str]]:
    found: list[tuple[type, str]] = []
    for arm in alternatives(hint):
        bare, _ = unwrap(arm)
        if is_record(bare):
            found.append((bare, ""))
        elif kind := collection(bare):
            suffix = ".<name>" if kind is dict else "[]"
            parts = [part for part in get_args(bare)[kind is dict :] if part is not Ellipsis]
            found += [(record, suffix + rest) for part in parts for record, rest in _records_in(part)]
    return found
