"""Does ``module:object`` lead to something? Looked up in the source, without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from headrace.core.config import did_you_mean
from headrace.infra.runtimes.workspace_code import source_file


def why_not_found(reference: str, root: Path) -> str | None:
    """What is wrong with *reference*; None if it leads somewhere, or if only importing it could tell."""
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute:
        return f"found {reference!r}, wanted package.module:object or models/file.py:object"
    file = source_file(reference, root)
    if file is not None:
        return _why_not_in(file, place, attribute.partition(".")[0])
    if place.endswith(".py"):
        there = [path.relative_to(root).as_posix() for path in root.glob("*/*.py")]
        return f"found no file {place!r}{did_you_mean(place, there)}; paths start at the workspace"
    top = place.partition(".")[0]
    if not place.replace(".", "_").isidentifier() or find_spec(top) is None:
        return f"found no {place.replace('.', '/')}.py in the workspace, and no installed module {top!r}"
    return None


def _why_not_in(file: Path, place: str, name: str) -> str | None:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"found {place!r}, which is not valid Python{line}: {getattr(error, 'msg', error)}"
    names = set(_top_level(tree.body))
    if name in names or "*" in names or "__getattr__" in names:
        return None
    public = sorted(found for found in names if not found.startswith("_"))
    return f"found no {name!r} in {place!r}{did_you_mean(name, public)}, wanted one of: {', '.join(public)}"


def _top_level(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
        else:  # assignments, also those inside `if` and `try`, where imports and definitions may stand too
            yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
            yield from _nested(statement)


def _nested(statement: ast.stmt) -> Iterator[str]:
    for part in ("body", "orelse", "finalbody"):
        yield from _top_level(getattr(statement, part, []))
    for handler in getattr(statement, "handlers", []):
        yield from _top_level(handler.body)
