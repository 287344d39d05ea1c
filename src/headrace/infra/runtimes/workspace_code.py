"""Which Python object does `module:object` or `folder/file.py:object` mean? Workspace files are read afresh."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import CodeType, ModuleType

from headrace.domain.errors import InvalidConfig
from headrace.domain.parameters import nearest

_generations = count(1)


def load_object(reference: str, root: Path | None) -> object:
    """The object that *reference* names: ``package.module:object``, or ``models/net.py:object`` below *root*.

    A module that is a file below *root* is executed afresh each time, as part of a private package of its folder:
    ``from .other import name`` works between neighbours, ``sys.path`` is not touched, and objects made of an earlier
    reading stay as they were. Everything else is imported as usual. Raises InvalidConfig.
    """
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute:
        raise InvalidConfig(f"path {reference!r} names no object; write package.module:object or models/file.py:object")
    module = _module(place, root)
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            public = [key for key in vars(found) if not key.startswith("_")] if hasattr(found, "__dict__") else []
            raise InvalidConfig(f"{place!r} has no {name!r}{nearest(name, public)}")
        found = getattr(found, name)
    return found


def source_file(reference: str, root: Path | None) -> Path | None:
    """The workspace file that *reference* leads to; None for an installed module, or when there is no such file."""
    place = reference.rpartition(":")[0]
    if not place.endswith(".py"):
        if root is None or not all(part.isidentifier() for part in place.split(".")):
            return None
        place = place.replace(".", "/") + ".py"
    file = Path(place) if root is None else root / place
    return file if file.is_file() else None


def _module(place: str, root: Path | None) -> ModuleType:
    file = source_file(f"{place}:", root)
    if file is not None:
        return _executed(file, place)
    if place.endswith(".py"):
        raise InvalidConfig(f"there is no file {place!r} in the workspace")
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            where = f"{place.replace('.', '/')}.py in the workspace, nor an installed module {error.name!r}"
            raise InvalidConfig(f"there is no {where}") from error
        raise _broken(place, error) from error
    except Exception as error:  # a user's module: whatever it raises is a mistake in it
        raise _broken(place, error) from error


class _SourceLoader(SourceFileLoader):
    """Compiles what is in the file now; a byte code cache would miss an edit within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _executed(file: Path, place: str) -> ModuleType:
    package = ModuleType(f"_headrace_models_{next(_generations)}")
    package.__path__ = [str(file.parent)]
    name = f"{package.__name__}.{file.stem}"
    spec = spec_from_file_location(name, file, loader=_SourceLoader(name, str(file)))
    if spec is None or spec.loader is None:
        raise InvalidConfig(f"{place!r} cannot be imported")
    module = module_from_spec(spec)
    # Both stay: what they define looks itself up there (dataclasses, late relative imports, pickles).
    sys.modules[package.__name__] = package
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file: whatever it raises is a mistake in it
        for stale in [key for key in sys.modules if key.startswith(package.__name__)]:
            del sys.modules[stale]
        raise _broken(place, error) from error
    return module


def _broken(place: str, error: BaseException) -> InvalidConfig:
    if isinstance(error, SyntaxError):
        found = f"is not valid Python: {error.msg}, line {error.lineno}"
    else:
        found = f"cannot be imported: {type(error).__name__}: {error}"
    return InvalidConfig(f"{place!r} {found}")
