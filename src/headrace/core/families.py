"""What is a family of numbers, and what do the families of several processes come to together?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

ONE_OF: Final[Mapping[str, Callable[[float, float], float]]] = {
    "headrace_stream_lag": max,
    "headrace_batch_size_limit": max,
    "headrace_padding_waste_ratio": max,
    "headrace_cache_up": min,
}
"""Gauges whose sum would mean nothing: which of two processes' values counts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number under the values of its labels; of a histogram, *value* is the sum of what was seen.

    *counts* are a histogram's, per bucket (upper *bounds*) and one more for what is above.
    """

    labels: tuple[str, ...]
    value: float
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one kind and name, told apart by the values of *labels*."""

    kind: Kind
    name: str
    help_text: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...] = ()


def together(parts: Iterable[Iterable[Family]]) -> list[Family]:
    """The families of several processes as one: everything is added up, but for the gauges in *ONE_OF*."""
    heads: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, ...], Sample]] = {}
    for part in parts:
        for family in part:
            heads.setdefault(family.name, family)
            _into(sums.setdefault(family.name, {}), family)
    return [replace(head, samples=tuple(sums[name].values())) for name, head in heads.items()]


def lasting(families: Iterable[Family]) -> list[Family]:
    """What is left of a process that ended: what it counted happened; what it had under way is gone."""
    return [family for family in families if family.kind != "gauge"]


def _into(found: dict[tuple[str, ...], Sample], family: Family) -> None:
    for sample in family.samples:
        known = found.get(sample.labels)
        if known is None:
            found[sample.labels] = sample
        elif family.name in ONE_OF:
            value = ONE_OF[family.name](known.value, sample.value)
            found[sample.labels] = replace(sample, value=value)
        else:
            found[sample.labels] = _sum(known, sample)


def _sum(one: Sample, other: Sample) -> Sample:
    """Both as one. Processes of one server have the same buckets; should they differ, the newer ones are kept."""
    if one.bounds != other.bounds:
        return other
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Sample(one.labels, one.value + other.value, one.bounds, counts)


def gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Family:
    """A gauge with one label."""
    return Family("gauge", name, help_text, (label,), tuple(Sample((key,), value) for key, value in values.items()))


def counter(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Family:
    """A counter with one label."""
    return Family("counter", name, help_text, (label,), tuple(Sample((key,), value) for key, value in values.items()))
