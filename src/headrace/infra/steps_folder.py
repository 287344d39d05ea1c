"""Which functions stand in a workspace's ``steps/*.py``? Imports them by path, under names that nothing else uses."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_generations = count(1)


@dataclass(frozen=True, slots=True)
class Broken:
    """A steps file that cannot be imported: where it fails, why, and its text (empty if it cannot be read)."""

    file: Path
    line: int
    message: str
    text: str = ""

    def mentions(self, function: str) -> bool:
        """Whether the file seems to define *function*, so that saying it were unknown would mislead."""
        return f"def {function}(" in self.text


@dataclass(frozen=True, slots=True)
class StepsFolder:
    """The public functions of each file, by the file's stem, and the files that are broken."""

    functions: Mapping[str, Mapping[str, Callable[..., Any]]] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()


def steps_files(folder: Path) -> list[Path]:
    """The Python files of *folder*, sorted; one that begins with an underscore serves the others and is one too."""
    return sorted(folder.glob("*.py")) if folder.is_dir() else []


def import_steps(folder: Path) -> StepsFolder:
    """Import every file of *folder* afresh; neither ``sys.path`` nor a byte code cache is touched.

    The files are modules of one private package, so that ``from .other import name`` works between them. The modules
    of an earlier import stay as they are: pipelines in use go on with the functions that they were built with.
    """
    files = steps_files(folder)
    if not files:
        return StepsFolder()
    package = ModuleType(f"_headrace_steps_{next(_generations)}")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    functions: dict[str, Mapping[str, Callable[..., Any]]] = {}
    broken: list[Broken] = []
    with _found_in(package.__name__, folder):
        for file in files:
            module = _import(f"{package.__name__}.{file.stem}", file)
            if isinstance(module, Broken):
                broken.append(module)
            elif not file.stem.startswith("_"):
                functions[file.stem] = dict(_public_functions(module))
    return StepsFolder(functions, tuple(broken))


def _import(name: str, file: Path) -> ModuleType | Broken:
    if name in sys.modules:  # a file before this one imported it
        return sys.modules[name]
    spec = _spec(name, file)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is a user's: whatever it raises is a mistake in it
        sys.modules.pop(name, None)
        return _why_broken(file, error)
    return module


class _SourceLoader(SourceFileLoader):
    """Compiles what is in the file now; a byte code cache would miss an edit within the same second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _spec(name: str, file: Path) -> ModuleSpec:
    spec = spec_from_file_location(name, file, loader=_SourceLoader(name, str(file)))
    if spec is None:
        raise ImportError(f"{file} cannot be imported")
    return spec


@dataclass(frozen=True, slots=True)
class _Finder:
    package: str
    folder: Path

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, stem = name.rpartition(".")
        file = self.folder / f"{stem}.py"
        return _spec(name, file) if package == self.package and file.is_file() else None


@contextmanager
def _found_in(package: str, folder: Path) -> Iterator[None]:
    finder = _Finder(package, folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _public_functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and not name.startswith("_") and value.__module__ == module.__name__:
            yield name, value


def _why_broken(file: Path, error: BaseException) -> Broken:
    text = _text(file)
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return Broken(file, error.lineno or 1, f"not valid Python: {error.msg}", text)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file) and frame.lineno]
    # The innermost line of this file is the one to mend; an import of a broken neighbour is reported there too.
    return Broken(file, lines[-1] if lines else 1, f"importing it raises {type(error).__name__}: {error}", text)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
