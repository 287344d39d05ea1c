"""What do ONNX Runtime's errors mean, in words that hold no path of the machine?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from headrace.domain.errors import EngineError, InvalidInput, ModelFailure
from headrace.domain.memory import out_of_memory
from headrace.domain.tensors import Column, TensorSpec

LONGEST: Final = 400

Axes = Sequence[int | str | None]
"""The axes of an input as the artefact gives them: a size, a name for any size, or nothing."""

_PREFIX = re.compile(r"^\s*\[ONNXRuntimeError\] : \d+ : \w+ : ")
_LOADING = re.compile(r"Load model from .*? failed:\s*")
_SOURCE = re.compile(r"/?[\w./\-]+\.(?:cc|h|cu|cpp):\d+\s+(?:[^\n]*?\)\s+(?=\S)|\w+\s+)")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.\-]+/)+[\w.\-]*")


def cleaned(error: Exception, file: Path | None = None, shown: str = "") -> str:
    """The text of *error* without ONNX Runtime's prefixes, source locations and paths; *file* becomes *shown*."""
    text = _PREFIX.sub("", str(error))
    text = _LOADING.sub("", text)
    text = _SOURCE.sub("", text)
    if file is not None:
        text = text.replace(str(file), shown).replace(str(file.parent), "")
    text = " ".join(_PATH.sub("...", text).split())
    return text[:LONGEST] or type(error).__name__


def run_failure(
    error: Exception, inputs: Mapping[str, Column], wanted: Mapping[str, TensorSpec], axes: Mapping[str, Axes]
) -> EngineError:
    """What a failed run means: InvalidInput for inputs that the model refuses, else ModelFailure.

    *axes* are what the artefact calls the axes of each input.
    """
    if (found := misfit(inputs, wanted)) is not None:
        return InvalidInput(found)
    if not out_of_memory(error) and (found := contradiction(inputs, axes)) is not None:
        return InvalidInput(f"{found}; the model says: {cleaned(error)}")
    if type(error).__name__ == "InvalidArgument":
        return InvalidInput(f"the model refuses its inputs: {cleaned(error)}")
    if isinstance(error, UnicodeError):
        return InvalidInput("the model wants text that can be written as UTF-8; there is a lone surrogate in it")
    return ModelFailure(f"ONNX Runtime failed: {cleaned(error)}")


def misfit(inputs: Mapping[str, Column], wanted: Mapping[str, TensorSpec]) -> str | None:
    """The first thing that is wrong with the names, dtypes and shapes of *inputs*; None if they fit."""
    missing = [name for name in wanted if name not in inputs]
    extra = [name for name in inputs if name not in wanted]
    if missing or extra:
        found = f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}"
        return f"the model wants the inputs {', '.join(wanted)}; {found}"
    for name, spec in wanted.items():
        column = inputs[name]
        if isinstance(column, np.ndarray) and (why := _wrong(column, spec)):
            return f"input {name!r} {why}"
    return None


def contradiction(inputs: Mapping[str, Column], axes: Mapping[str, Axes]) -> str | None:
    """Two inputs that differ in an axis which has one name in both; None if none do.

    ONNX Runtime itself does not compare them, and a size of 1 may be meant to stand for any.
    """
    sizes: dict[str, tuple[str, int]] = {}
    for name, column in inputs.items():
        if not isinstance(column, np.ndarray):
            continue
        for axis, size in zip(axes.get(name, ()), column.shape, strict=False):
            if not isinstance(axis, str) or size == 1:
                continue
            other, known = sizes.setdefault(axis, (name, size))
            if known != size and other != name:
                return f"inputs {other!r} and {name!r} should agree in the axis {axis!r}: there are {known} and {size}"
    return None


def _wrong(column: np.ndarray[tuple[int, ...], np.dtype[np.generic]], spec: TensorSpec) -> str | None:
    text = column.dtype.kind in "OU"
    if text != (spec.dtype == "string") or not (text or column.dtype.name == spec.dtype):
        return f"wants {spec.dtype}, not {'objects' if text else column.dtype.name}"
    if spec.shape is None:
        return None
    fits = len(spec.shape) == column.ndim and all(
        want in (-1, have) for want, have in zip(spec.shape, column.shape, strict=True)
    )
    return None if fits else f"wants {spec}, not the shape {list(column.shape)}"
