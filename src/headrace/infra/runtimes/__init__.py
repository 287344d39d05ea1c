"""Which runtimes are there, and how does a model's `type` become a loaded model?"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, cast

from headrace.domain.errors import InvalidConfig
from headrace.domain.model import Model, ModelAdapter
from headrace.domain.parameters import nearest
from headrace.infra.runtimes.resident import resident_bytes, taken_since

RUNTIMES: Final[Mapping[str, str]] = {
    "onnx": "headrace.infra.runtimes.onnx:OnnxModel",
    "python": "headrace.infra.runtimes.python:PythonModel",
    "sklearn": "headrace.infra.runtimes.sklearn:SklearnModel",
    "echo": "headrace.infra.runtimes.echo:EchoModel",
}
"""Name to ``module:Class``; a module is imported when the first model of its type is created."""


def create(type: str) -> Model:
    """An empty model of the runtime *type*. Raises InvalidConfig for one that is not there."""
    if type not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise InvalidConfig(f"there is no model type {type!r}{nearest(type, list(RUNTIMES))}; there are: {known}")
    module, _, name = RUNTIMES[type].partition(":")
    return cast(Model, getattr(import_module(module), name)())


def load_model(type: str, model_path: str, config: Mapping[str, Any]) -> Model:
    """The model of the runtime *type*, loaded: what a pipeline runs.

    Of ``python`` models this is the user's own object, so that what it says about itself (`concurrent`, `pure`,
    that it is a RemoteModel) holds. *model_path* and *config* are as in `ModelAdapter.load`; a ``root`` in
    *config* is the workspace, and ``path`` the path as it is shown. Raises InvalidConfig.
    """
    model = create(type)
    before = resident_bytes()
    model.load(model_path, config)
    loaded = cast(Model, getattr(model, "wrapped", model))
    if isinstance(loaded, ModelAdapter):
        loaded.loaded_bytes = taken_since(before, model_path)
    return loaded
