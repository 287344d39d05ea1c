"""Do columns of every kind become the JSON that the contract promises?"""

import json
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from headrace.adapters.http.rendering import all_failed, many_rows, one_row, to_json, with_details
from headrace.domain.errors import InvalidInput, ModelFailure, Overloaded
from headrace.domain.registry import PipelineRef
from headrace.services.context import Result, Timing


def result(picks: Any, **columns: Any) -> Result:
    return Result(PipelineRef("p", "1"), columns, picks, Timing())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.array([1.5, 2.5], dtype=np.float16), [1.5, 2.5]),
        (np.array([0.1], dtype=np.float32), [0.1]),
        (np.float32(0.1), 0.1),
        (np.array([1.0, np.nan, np.inf, -np.inf]), [1.0, None, None, None]),
        (float("nan"), None),
        (np.array([True, False]), [True, False]),
        (np.array([[1, 2], [3, 4]]).T, [[1, 3], [2, 4]]),
        (np.array([1, 2], dtype=">i4"), [1, 2]),
        (np.array(["a", None, b"b"], dtype=object), ["a", None, {"base64": "Yg=="}]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.int64(2**62), 2**62),
        (np.zeros((2, 0)), [[], []]),
        (np.array(3.0), 3.0),
        (b"hi", {"base64": "aGk="}),
        (bytearray(b"hi"), {"base64": "aGk="}),
        ({"a": {1, 2}}, {"a": [1, 2]}),
        ({1: "a"}, {"1": "a"}),
        (MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}),
    ],
)
def test_values_have_their_json_form(value: Any, shown: Any) -> None:
    assert json.loads(to_json({"value": value}))["value"] == shown


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", 1j])
def test_what_has_no_json_form_is_the_models_failure(value: Any) -> None:
    with pytest.raises(ModelFailure, match="JSON"):
        to_json({"value": value})


def test_a_row_takes_its_slices_of_the_shared_columns() -> None:
    shared = result([1], y=np.array([[1, 2], [3, 4]]), label=["a", "b"])

    assert json.loads(to_json(one_row(shared))) == {"y": [3, 4], "label": "b"}


def test_failed_rows_stand_in_their_place() -> None:
    error = InvalidInput("no number", details={"column": "x"})
    rows = many_rows(result([0, error], y=[1]))

    assert rows == [
        {"y": 1},
        {"error": {"code": "invalid_input", "message": "no number", "details": {"column": "x"}}},
    ]


def test_only_when_all_rows_failed_has_the_request() -> None:
    full = Overloaded("full", retry_after_s=3)

    assert all_failed(result([0, full], y=[1])) is None
    assert all_failed(result(range(2), y=[1, 2])) is None
    assert all_failed(result([full])) is full
    both = all_failed(result([full, InvalidInput("no")]))
    assert isinstance(both, Overloaded)
    assert both.retry_after_s == 3
    assert [row["code"] for row in (both.details or {})["rows"]] == ["overloaded", "invalid_input"]


def test_an_error_that_says_more_leaves_the_first_as_it_was() -> None:
    first = InvalidInput("short")

    fuller = with_details(first, "long", {"a": 1})

    assert (str(fuller), fuller.message, fuller.details) == ("long", "long", {"a": 1})
    assert (str(first), first.message, first.details) == ("short", "short", None)
