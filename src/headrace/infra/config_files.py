"""A folder of YAML as a workspace: what it declares, what is wrong with it, and how its pipelines are built."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from pathlib import Path

from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared, Workspace
from headrace.domain.spec import PipelineSpec
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.build import Builder, invalid
from headrace.infra.workspace.fingerprint import fingerprint
from headrace.infra.workspace.survey import Layout, Survey, survey


class WorkspaceFiles(Workspace):
    """The files of a workspace, read when asked. May be used from several threads."""

    def __init__(self, layout: Layout, *, environment: Mapping[str, str] | None = None) -> None:
        """*environment* replaces the process's own; it wins over ``.env``."""
        self._layout = layout
        self._environment = environment
        self._steps = StepLookup(layout.root)
        self._builder = Builder(layout.root, self._steps)
        self._survey = Survey()
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder that paths in the configuration start at."""
        return self._layout.root

    def check(self) -> Survey:
        """Every mistake and every warning, and what is declared as far as it can be told. Raises nothing."""
        with self._lock:
            return survey(self._layout, self._steps, self._environment)

    def read(self) -> Declared:
        """What the files say now. Raises InvalidConfig with every mistake, each with file and line.

        The model of every pipeline is a ModelUse whose name and version are in `Declared.models`, models that are
        written inside a pipeline among them. After a failure, `build` goes on with what was read before.
        """
        found = self.check()
        if found.mistakes:
            raise invalid(found.mistakes)
        self._survey = found
        return found.declared

    def build(self, spec: PipelineSpec) -> Pipeline:
        """Load the model and bind the steps; blocks. Pipelines over the same bytes share a model in memory.

        Raises InvalidConfig, with the line where it can be told, NotFound or ModelFailure.
        """
        self._steps.refresh()
        return self._builder.build(spec, self._survey)

    def fingerprint(self) -> Hashable:
        """A value that changes when a file under config/ or steps/ does, or `.env`."""
        root, layout = self.root, self._layout
        return fingerprint(root / "config", root / layout.pipelines_directory, root / "steps", root / ".env")


def check(layout: Layout, *, environment: Mapping[str, str] | None = None) -> Survey:
    """Look at a workspace once: its `mistakes` and `warnings`. Raises nothing."""
    return WorkspaceFiles(layout, environment=environment).check()
