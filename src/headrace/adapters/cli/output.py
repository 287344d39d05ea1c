"""How do values become JSON or a table on the terminal?"""

from __future__ import annotations

import base64
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from headrace.domain.batch import Outcome
from headrace.domain.errors import EngineError

WIDTH = 100
JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def json_line(value: Any) -> str:
    """*value* as one line of JSON: arrays as lists, bytes as ``{"base64": ..}``, NaN as null."""
    return orjson.dumps(value, default=_plain, option=JSON_OPTIONS).decode()


def json_text(value: Any) -> str:
    """The same for a person: what fits into a line stands in one, and long lists of numbers fill theirs."""
    return _laid_out(orjson.loads(json_line(value)), 0)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    return str(value)


def _laid_out(value: Any, depth: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    inner, outer = "  " * (depth + 1), "  " * depth
    if not value or not isinstance(value, dict | list) or (depth and len(outer) + len(line) < WIDTH):
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(key, ensure_ascii=False)}: {_laid_out(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{outer}}}"
    if any(isinstance(item, dict | list | str) for item in value):
        return "[\n" + ",\n".join(inner + _laid_out(item, depth + 1) for item in value) + f"\n{outer}]"
    filled = textwrap.fill(line[1:-1], WIDTH, initial_indent=inner, subsequent_indent=inner)
    return f"[\n{filled}\n{outer}]"


def outcome_data(outcome: Outcome) -> Mapping[str, Any]:
    """A row as it is, or ``{"error": ..}`` in its place."""
    return {"error": error_data(outcome)} if isinstance(outcome, EngineError) else outcome


def error_data(error: EngineError) -> dict[str, Any]:
    """An error as every door shows it: code, message, and details if there are any."""
    shown: dict[str, Any] = {"code": error.code, "message": error.message}
    return shown if error.details is None else {**shown, "details": error.details}


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* under *headings*; no cell is cut where the output is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1000).print(table)


def counted(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
