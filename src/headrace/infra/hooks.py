"""Which objects do ``hooks:`` and ``api.middleware:`` name?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.core.config import Reader
from headrace.domain.errors import InvalidConfig
from headrace.domain.hooks import why_no_hook
from headrace.infra.runtimes.workspace_code import load_object
from headrace.infra.workspace.python_objects import why_not_found


def check_references(reader: Reader, key: str, references: Sequence[str]) -> None:
    """Say which of *references*, the value of *key*, lead nowhere; nothing of them is run."""
    for index, reference in enumerate(references):
        if (why := why_not_found(reference, reader.root)) is not None:
            reader.mistake(reader.place(references, index), why, f"{key}[{index}]")


def load_hooks(references: Sequence[str], root: Path) -> Mapping[str, object]:
    """The hooks by their references (``package.module:object``, also of the workspace); a class is called first.

    Raises InvalidConfig for one that cannot be imported, or is none.
    """
    return {reference: _hook(reference, root) for reference in references}


def load_middleware(references: Sequence[str], root: Path) -> Sequence[tuple[str, Callable[[Any], Any]]]:
    """What each reference names: something that is given an ASGI application and returns another. Raises InvalidConfig.

    Whether what it returns can be called is seen when it is given one.
    """
    found = [(reference, _loaded(reference, root, "api.middleware")) for reference in references]
    for reference, one in found:
        if not callable(one):
            raise InvalidConfig(f"api.middleware {reference!r} is a {type(one).__name__}; wanted is app -> app")
    return found


def _hook(reference: str, root: Path) -> object:
    listener = _loaded(reference, root, "hooks")
    if inspect.isclass(listener):
        try:
            listener = listener()
        except Exception as error:  # code of the user
            raise InvalidConfig(f"hooks: {reference!r} cannot be made: {type(error).__name__}: {error}") from error
    if (why := why_no_hook(listener)) is not None:
        raise InvalidConfig(f"hooks: {reference!r} is no hook: {why}")
    return listener


def _loaded(reference: str, root: Path, key: str) -> Any:
    try:
        return load_object(reference, root)
    except InvalidConfig as error:
        raise InvalidConfig(f"{key}: {error.message}") from error
