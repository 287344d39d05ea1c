"""What contradicts itself in a ``batching:`` section, or does not fit the columns of its pipeline?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from headrace.domain.padding import free_axes
from headrace.domain.parameters import Problem, nearest
from headrace.domain.spec import Batching
from headrace.domain.step import Specs
from headrace.domain.tensors import TensorSpec


def contradictions(
    batching: Batching, inputs: Specs | None, model_inputs: Specs | None, model_outputs: Specs | None
) -> list[Problem]:
    """Everything that is wrong with *batching*, each under its key, which is ``pad.NAME`` within a mapping.

    *inputs* are those of the pipeline, the others the model's, all with their row axis first. What depends on
    columns that are not known (None) is not looked at.
    """
    return [
        *_numbers(batching),
        *_cost(batching, inputs),
        *_pad(batching, model_inputs),
        *_unpad(batching, model_outputs),
    ]


def _numbers(batching: Batching) -> Iterator[Problem]:
    if batching.max_size != "auto" and batching.max_size < 1:
        yield Problem("max_size", f"found {batching.max_size}, wanted auto or an integer of at least 1")
    if not 0 <= batching.max_wait_ms < float("inf"):
        yield Problem("max_wait_ms", f"found {batching.max_wait_ms:g}, wanted a number of at least 0")
    if batching.max_queue < 1:
        yield Problem("max_queue", f"found {batching.max_queue}, wanted an integer of at least 1")
    objective = batching.objective_ms
    if objective is not None and not 0 < objective < float("inf"):
        yield Problem("objective_ms", f"found {objective:g}, wanted a number above 0")
    elif objective is not None and batching.max_wait_ms >= objective:
        wait = f"max_wait_ms is {batching.max_wait_ms:g}"
        yield Problem("objective_ms", f"found {objective:g}, wanted more than the wait for company: {wait}")


def _cost(batching: Batching, inputs: Specs | None) -> Iterator[Problem]:
    if batching.cost is None and batching.max_cost is not None:
        yield Problem("max_cost", "found a max_cost without a cost; wanted cost: the input that is counted")
    if batching.cost is not None and batching.max_cost is None:
        yield Problem("cost", "found a cost without a max_cost; wanted max_cost: the most that one batch may cost")
    if batching.max_cost is not None and not 0 < batching.max_cost < float("inf"):
        yield Problem("max_cost", f"found {batching.max_cost:g}, wanted a number above 0")
    if batching.cost is not None and inputs is not None and batching.cost not in inputs:
        yield Problem("cost", _unknown("input", batching.cost, inputs, "the pipeline takes"))


def _pad(batching: Batching, inputs: Specs | None) -> Iterator[Problem]:
    for key, given in (("buckets", batching.buckets), ("max_waste", batching.max_waste != Batching().max_waste),
                       ("unpad", batching.unpad != "auto")):  # fmt: skip
        if given and not batching.pad:
            yield Problem(key, f"found {key} without pad; wanted pad: the inputs that are filled up")
    if any(size < 1 for size in batching.buckets) or any(one >= other for one, other in pairwise(batching.buckets)):
        found = ", ".join(map(str, batching.buckets))
        yield Problem("buckets", f"found {found}; wanted integers of at least 1, each larger than the one before")
    if not 0 <= batching.max_waste < 1:
        yield Problem("max_waste", f"found {batching.max_waste:g}, wanted a number from 0 to below 1")
    if inputs is None:
        return
    for name in batching.pad:
        if name not in inputs:
            yield Problem(f"pad.{name}", _unknown("input", name, inputs, "the model takes"))
        elif why := _unfit(inputs[name], batching.pad[name]):
            yield Problem(f"pad.{name}", why)


def _unfit(spec: TensorSpec, value: float) -> str | None:
    """Why rows of *spec* cannot be filled up with *value*."""
    if not spec.numeric:
        return f"found a column of {spec.dtype}; only numbers are filled up"
    if not free_axes(spec):
        return f"found the shape {spec}, which leaves no axis of a row open; there is nothing to fill up"
    if spec.dtype.startswith("float"):
        return None
    least, most = (0, 1) if spec.dtype == "bool" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
    if not float(value).is_integer() or not least <= value <= most:
        return f"found {value:g}, wanted a whole number from {least} to {most}: the column holds {spec.dtype}"
    return None


def _unpad(batching: Batching, outputs: Specs | None) -> Iterator[Problem]:
    if batching.unpad == "auto":
        return
    for name, source in batching.unpad.items():
        if outputs is not None and name not in outputs:
            yield Problem(f"unpad.{name}", _unknown("output", name, outputs, "the model gives"))
        if source not in batching.pad:
            yield Problem(f"unpad.{name}", _unknown("input", source, batching.pad, "filled up are"))


def _unknown(what: str, name: str, known: Mapping[str, object], there: str) -> str:
    return f"found no {what} {name!r}{nearest(name, list(known))}; {there}: {', '.join(known) or 'none'}"
