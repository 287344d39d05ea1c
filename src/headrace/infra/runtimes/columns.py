"""What a model's file says about its columns, and whether the artefact agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.domain.errors import InvalidConfig
from headrace.domain.parameters import nearest
from headrace.domain.tensors import DTYPES, TensorSpec


def declared(config: Mapping[str, Any], key: str) -> dict[str, TensorSpec] | None:
    """The columns under *key* (``input_spec`` or ``output_spec``) of a model's *config*; None when it names none."""
    entries = config.get(key)
    if entries is None:
        return None
    specs: dict[str, TensorSpec] = {}
    for entry in entries:
        spec = _column(entry, key)
        if spec.name in specs:
            raise InvalidConfig(f"{key} names the column {spec.name!r} twice")
        specs[spec.name] = spec
    return specs


def _column(entry: Mapping[str, Any], key: str) -> TensorSpec:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidConfig(f"{key} has a column without a name: {dict(entry)!r}")
    dtype = str(entry.get("dtype", "float32"))
    if dtype not in DTYPES:
        allowed = ", ".join(DTYPES)
        raise InvalidConfig(f"{key}: no dtype {dtype!r} for {name!r}{nearest(dtype, DTYPES)}; allowed: {allowed}")
    shape = entry.get("shape", (-1,))
    if shape is not None and not _is_shape(shape):
        raise InvalidConfig(f"{key}: the shape of {name!r} wants integers, -1 for any size, not {shape!r}")
    default = entry.get("default")
    return TensorSpec(dtype, None if shape is None else tuple(shape), name, default, default is not None)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, Sequence) and all(type(size) is int and size >= -1 for size in shape)


def agreed(
    stated: Mapping[str, TensorSpec] | None, artefact: Mapping[str, TensorSpec], key: str
) -> dict[str, TensorSpec]:
    """The columns of the *artefact*, narrowed by what the file has *stated* under *key*.

    A stated size stands where the artefact leaves one open; a stated -1 keeps the artefact's. ``input_spec`` must
    name every input; ``output_spec`` may choose among the outputs. Raises InvalidConfig on any contradiction.
    """
    if stated is None:
        return dict(artefact)
    for name in stated:
        if name not in artefact:
            found = f"{nearest(name, list(artefact))}; it has: {', '.join(artefact)}"
            raise InvalidConfig(f"{key} names {name!r}, which the artefact does not have{found}")
    missing = [name for name in artefact if name not in stated]
    if key == "input_spec" and missing:
        raise InvalidConfig(f"{key} lacks {', '.join(map(repr, missing))}, which the artefact wants")
    return {name: _narrowed(spec, artefact[name], key) for name, spec in stated.items()}


def _narrowed(stated: TensorSpec, artefact: TensorSpec, key: str) -> TensorSpec:
    if stated.dtype != artefact.dtype:
        raise InvalidConfig(f"{key} says {stated} for {stated.name!r}, the artefact has {artefact}: dtypes differ")
    if stated.shape is None or artefact.shape is None:
        return replace(stated, shape=stated.shape if artefact.shape is None else artefact.shape)
    pairs = list(zip(stated.shape, artefact.shape, strict=False))
    if len(stated.shape) != len(artefact.shape) or any(-1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise InvalidConfig(f"{key} says {stated} for {stated.name!r}, the artefact has {artefact}: shapes differ")
    return replace(stated, shape=tuple(said if had == -1 else had for said, had in pairs))


def model_name(config: Mapping[str, Any]) -> str:
    """How the model of *config* is called in messages."""
    return f"model {config['name']!r}" if config.get("name") else "the model"
