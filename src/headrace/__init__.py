"""Headrace: one pipeline definition, run at three speeds.

Importing it imports no framework; `load` brings what a workspace needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Batch", "Context", "Engine", "ModelAdapter", "RemoteModel", "TensorSpec", "__version__", "load", "step"]

if TYPE_CHECKING:
    from headrace.assembly import load
    from headrace.domain.batch import Batch
    from headrace.domain.model import ModelAdapter, RemoteModel
    from headrace.domain.step import Context, step
    from headrace.domain.tensors import TensorSpec
    from headrace.services.engine import Engine

_HOMES = {
    "Batch": "headrace.domain.batch",
    "Context": "headrace.domain.step",
    "Engine": "headrace.services.engine",
    "ModelAdapter": "headrace.domain.model",
    "RemoteModel": "headrace.domain.model",
    "TensorSpec": "headrace.domain.tensors",
    "load": "headrace.assembly",
    "step": "headrace.domain.step",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
