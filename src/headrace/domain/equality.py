"""When are two answers the same? Labels, integers and error codes exactly, floats up to the last bits of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

RTOL: Final = 1e-5
ATOL: Final = 1e-6
"""A matrix product's last bits depend on the size of the batch; more than this is a difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ: *where* is a path such as ``probabilities[3]``."""

    where: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.where or 'answer'}: {_shown(self.expected)} expected, {_shown(self.found)} found"


def differences(expected: Any, found: Any, where: str = "") -> Iterator[Difference]:
    """Every difference between two answers in plain data (mappings, lists, texts, numbers, null).

    An answer with the key ``error`` is a failure: only the codes are compared, since messages name positions.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        yield from _mappings(expected, found, where)
    elif isinstance(expected, list) and isinstance(found, list):
        yield from _lists(expected, found, where)
    elif not same(expected, found):
        yield Difference(where, expected, found)


def same(expected: Any, found: Any) -> bool:
    """Whether two scalars are the same: floats within `RTOL` and `ATOL`, everything else exactly."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return _close(expected, float(found))
    if isinstance(found, float) and isinstance(expected, int):
        return _close(float(expected), found)
    return type(expected) is type(found) and bool(expected == found)


def _close(expected: float, found: float) -> bool:
    if math.isnan(expected) or math.isnan(found):
        return math.isnan(expected) and math.isnan(found)
    if math.isinf(expected) or math.isinf(found):
        return expected == found
    return abs(expected - found) <= ATOL + RTOL * abs(expected)


def _mappings(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Iterator[Difference]:
    if "error" in expected or "error" in found:
        codes = [_code(answer) for answer in (expected, found)]
        if codes[0] != codes[1]:
            yield Difference(f"{where}.error.code".lstrip("."), *codes)
        return
    for name in [*expected, *(name for name in found if name not in expected)]:
        inner = f"{where}.{name}" if where else str(name)
        if name not in found or name not in expected:
            yield Difference(inner, expected.get(name, ABSENT), found.get(name, ABSENT))
        else:
            yield from differences(expected[name], found[name], inner)


def _lists(expected: list[Any], found: list[Any], where: str) -> Iterator[Difference]:
    if len(expected) != len(found):
        yield Difference(where, f"{len(expected)} values", f"{len(found)} values")
        return
    for index, (want, have) in enumerate(zip(expected, found, strict=True)):
        yield from differences(want, have, f"{where}[{index}]")


def _code(answer: Mapping[str, Any]) -> Any:
    error = answer.get("error", ABSENT)
    return error.get("code", ABSENT) if isinstance(error, Mapping) else error


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()
"""Stands for a value that is not there at all."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
