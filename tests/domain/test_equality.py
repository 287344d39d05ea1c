"""What counts as the same answer, and that every other one is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.equality import ATOL, RTOL, differences

ANSWER: dict[str, Any] = {
    "label": "cat",
    "count": 3,
    "sure": True,
    "score": 0.25,
    "probabilities": [0.25, 0.5, 0.25],
    "top": [{"name": "cat", "confidence": 0.5}],
    "note": None,
}

PLANTED = {
    "a float beyond the tolerance": {"score": 0.2501},
    "another label": {"label": "dog"},
    "an integer that is off by one": {"count": 4},
    "a number in the place of a boolean": {"sure": 1},
    "a shorter list": {"probabilities": [0.25, 0.5]},
    "two values that changed places": {"probabilities": [0.5, 0.25, 0.25]},
    "a difference deep inside": {"top": [{"name": "cat", "confidence": 0.75}]},
    "a value where there was none": {"note": "something"},
    "a text in the place of a number": {"score": "0.25"},
    "a column more": {"extra": 1},
}


@pytest.mark.parametrize("change", PLANTED.values(), ids=PLANTED)
def test_each_planted_difference_is_found(change: dict[str, Any]) -> None:
    found = list(differences(ANSWER, {**ANSWER, **change}))

    assert found
    assert found[0].where.startswith(next(iter(change)))


def test_a_missing_column_is_found() -> None:
    [found] = differences(ANSWER, {name: value for name, value in ANSWER.items() if name != "label"})

    assert str(found) == "label: 'cat' expected, nothing found"


def test_failures_are_compared_by_code() -> None:
    late = {"error": {"code": "deadline_exceeded", "message": "late"}}
    wrong = {"error": {"code": "invalid_input", "message": "row 3"}}

    assert not list(differences(wrong, {"error": {"code": "invalid_input", "message": "row 7"}}))
    assert [str(one) for one in differences(wrong, late)] == [
        "error.code: 'invalid_input' expected, 'deadline_exceeded' found"
    ]
    assert list(differences(ANSWER, wrong))


@given(st.floats(-1e6, 1e6), st.floats(-1, 1))
def test_floats_may_differ_by_the_tolerance_and_no_more(value: float, share: float) -> None:
    allowed = ATOL + RTOL * abs(value)

    assert not list(differences(value, value + 0.99 * share * allowed))
    assert list(differences(value, value + 1.01 * allowed + 1e-9))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(), st.lists))
def test_everything_equals_itself(answer: Any) -> None:
    assert not list(differences(answer, answer))
