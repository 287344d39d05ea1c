"""How is a framework imported that may not be installed?"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headrace.domain.errors import InvalidConfig


def framework(package: str, *, extra: str | None = None) -> Any:
    """The module *package*. Raises InvalidConfig naming the *extra* of Headrace that installs it, or the core."""
    try:
        return import_module(package)
    except ImportError as error:
        wanted = f"headrace[{extra}]" if extra else "headrace"
        missing = error.name or package
        found = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error.msg})"
        raise InvalidConfig(
            f"this model type needs the package {missing!r}, which {found}: pip install '{wanted}'"
        ) from error
