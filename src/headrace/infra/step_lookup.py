"""Where does a step's name lead? To a function of the workspace, a built-in, an entry point or a module's function."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from headrace.domain.errors import EngineError, InvalidConfig, NotFound
from headrace.domain.parameters import nearest
from headrace.domain.step import StepType, step_type
from headrace.domain.steps import STEPS
from headrace.infra.runtimes.workspace_code import load_object
from headrace.infra.steps_folder import Broken, StepsFolder, import_steps, steps_files
from headrace.infra.workspace.fingerprint import fingerprint

GROUP: Final = "headrace.steps"
"""The entry point group under which an installed package offers steps."""

Function = Callable[..., Any]


class StepLookup:
    """The steps that one workspace can name.

    A name is tried in this order: a public function in ``steps/*.py``, a built-in, an entry point of
    ``headrace.steps``, ``file.function`` (for a function whose bare name stands in several files of the workspace),
    ``package.module:function``.
    """

    def __init__(self, root: Path) -> None:
        """*root* is the workspace; nothing is read before `refresh`."""
        self._root = root
        self._folder = root / "steps"
        self._steps = StepsFolder()
        self._seen: object = None
        self._lock = threading.Lock()

    @cached_property
    def _offers(self) -> Mapping[str, EntryPoint]:
        """What installed packages offer; looked up once, since a package is not installed while a server runs."""
        return {offer.name: offer for offer in entry_points(group=GROUP)}

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The files of the workspace that could not be imported."""
        return self._steps.broken

    @property
    def files(self) -> Mapping[Path, tuple[str, ...]]:
        """The names of the public functions in each file of the workspace that could be imported."""
        return {self._folder / f"{stem}.py": tuple(names) for stem, names in self._steps.functions.items()}

    def refresh(self) -> None:
        """Import the files of the workspace again if one of them changed since the last time."""
        with self._lock:
            now = fingerprint(self._folder)
            if now != self._seen:
                self._steps = import_steps(self._folder)
                self._seen = now

    def names(self) -> list[str]:
        """Every name that leads to a step, but for those with a colon."""
        own = [name for functions in self._steps.functions.values() for name in functions]
        return sorted({*own, *STEPS, *self._offers})

    def find(self, name: str) -> StepType:
        """The step behind *name*.

        Raises NotFound, with the nearest spelling, when there is none, and InvalidConfig when the name stands for
        several functions or the one it stands for cannot be imported or does not say which columns it has.
        """
        function = self._function(name)
        try:
            return step_type(function)
        except EngineError:
            raise
        except Exception as error:  # type hints are code, and may raise whatever they like
            raise InvalidConfig(f"step {name!r} cannot be used: {error}") from error

    def hidden(self, name: str) -> bool:
        """Whether a broken file of the workspace seems to hold *name*; its own mistake says it all, then."""
        function = name.rpartition(".")[2]
        return any(file.mentions(function) for file in self.broken)

    def source(self, function: Function) -> list[Path]:
        """The files whose bytes decide what *function* does; all of ``steps/`` for one of the workspace."""
        if function.__module__.startswith("_headrace_steps_"):
            return steps_files(self._folder)
        file = inspect.getsourcefile(inspect.unwrap(function))
        return [Path(file)] if file else []

    def _function(self, name: str) -> Function:
        if (own := self._own(name)) is not None:
            return own
        if name in STEPS:
            return STEPS[name]
        if name in self._offers:
            return _loaded(self._offers[name])
        stem, _, function = name.rpartition(".")
        if function in self._steps.functions.get(stem, ()):
            return self._steps.functions[stem][function]
        place, _, attribute = name.rpartition(":")
        if place and attribute:
            return _callable(load_object(name, self._root), name)
        raise NotFound(f"no step {name!r}{nearest(name, self.names())}; {self._what_there_is(name)}")

    def _own(self, name: str) -> Function | None:
        found = {stem: functions[name] for stem, functions in self._steps.functions.items() if name in functions}
        if len(found) > 1:
            files = " and ".join(f"steps/{stem}.py" for stem in found)
            raise InvalidConfig(f"step {name!r} is in {files}; write {' or '.join(f'{stem}.{name}' for stem in found)}")
        return next(iter(found.values()), None)

    def _what_there_is(self, name: str) -> str:
        """The steps of the group that *name* begins with, else all groups and the workspace's own."""
        group = f"{name.partition('.')[0]}."
        if alike := [known for known in self.names() if known.startswith(group)]:
            return f"there are: {', '.join(alike)}"
        groups = sorted({known.partition(".")[0] for known in STEPS if "." in known})
        own = sorted(known for functions in self._steps.functions.values() for known in functions)
        here = f"in steps/: {', '.join(own)}" if own else "nothing in steps/"
        return f"there are: {', '.join(f'{known}.*' for known in groups)}; {here}"


def _loaded(offer: EntryPoint) -> Function:
    try:
        found = offer.load()
    except Exception as error:  # an installed package's code
        raise InvalidConfig(
            f"step {offer.name!r} is offered as {offer.value}; importing that raises {type(error).__name__}: {error}"
        ) from error
    return _callable(found, offer.name)


def _callable(found: Any, name: str) -> Function:
    if not inspect.isfunction(found):
        raise InvalidConfig(f"step {name!r} is a {type(found).__name__}; a step is a function")
    return found
