"""A folder of YAML as a workspace: what it declares, what is wrong with it, and how its pipelines are built."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.domain.errors import InvalidConfig
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared, Workspace
from headrace.domain.spec import PipelineSpec
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.build import Builder, invalid
from headrace.infra.workspace.fingerprint import fingerprint
from headrace.infra.workspace.survey import Layout, Survey, survey


class WorkspaceFiles(Workspace):
    """The files of a workspace, read when asked. May be used from several threads."""

    def __init__(
        self,
        root: Path,
        *,
        models_directory: str | Path = "models",
        pipelines_directory: str | Path = "config/pipelines",
        default_adapter: str = "onnx",
        default_pipeline: str | None = None,
        main_file: str | Path = "config/main.yaml",
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Look at nothing yet. Relative paths start at *root*.

        The rest but *environment* is what the main file says; *main_file* is where *default_pipeline* is written.
        *environment* replaces the process's own; it wins over ``.env``.
        """
        root = root.absolute()
        self._layout = Layout(
            root,
            root / models_directory,
            root / pipelines_directory,
            default_adapter,
            default_pipeline,
            root / main_file,
            workers,
        )
        self._environment = environment
        self._steps = StepLookup(root)
        self._builder = Builder(root, self._steps)
        self._survey = Survey()
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder that paths in the configuration start at."""
        return self._layout.root

    @property
    def main_file(self) -> Path:
        """Where the settings stand."""
        return self._layout.main_file

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

    def examples(self, spec: PipelineSpec) -> Sequence[Mapping[str, Any]]:
        """The example inputs of a pipeline as rows; ``{file: ..}`` becomes the file's bytes. Raises InvalidConfig."""
        return [{name: self._content(value) for name, value in row.items()} for row in spec.examples]

    def fingerprint(self) -> Hashable:
        """A value that changes when a file under config/ or steps/ does, or `.env`."""
        return fingerprint(
            self.root / "config", self._layout.pipelines_directory, self.root / "steps", self.root / ".env"
        )

    def _content(self, value: Any) -> Any:
        if not (isinstance(value, Mapping) and set(value) == {"file"}):
            return value
        try:
            return (self.root / str(value["file"])).read_bytes()
        except OSError as error:
            raise InvalidConfig(f"the example file {value['file']!r} cannot be read: {error.strerror}") from error
