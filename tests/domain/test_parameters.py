"""Whether plain values from YAML fit the hints of a function's keyword-only parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from headrace.domain.parameters import Misfit, check, fit, signature


def draw(image: Any, context: Any, *, size: tuple[int, int], mode: Literal["L", "RGB"] = "L", scale: float = 1) -> Any:
    """A step's function."""


@pytest.mark.parametrize(
    ("value", "hint", "becomes"),
    [
        (1, float, 1.0),
        (1, int, 1),
        (True, bool, True),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ([1, 2], list[float], [1.0, 2.0]),
        (["a"], Sequence[str], ["a"]),
        ({"a": [1]}, Mapping[str, list[int]], {"a": [1]}),
        (None, int | None, None),
        ("x", int | str, "x"),
        ([1], int | list[int], [1]),
        ({"any": object}, Any, {"any": object}),
        ("L", Literal["L", 1], "L"),
    ],
)
def test_a_value_that_fits_becomes_what_the_hint_says(value: Any, hint: Any, becomes: Any) -> None:
    fitted = fit(value, hint)

    assert fitted == becomes
    assert type(fitted) is type(becomes)


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("1", int, "wants an integer, not '1'"),
        (True, int, "wants an integer, not true"),
        (True, float, "wants a number, not True"),
        (1, bool, "wants true or false, not 1"),
        (1.5, int, "wants an integer, not 1.5"),
        (None, str, "wants a string, not None"),
        ("ab", Sequence[str], "wants a list"),
        ([1], tuple[int, int], "not 1 values"),
        (["a"], tuple[int, ...], "wants an integer"),
        ([1], Mapping[str, int], "wants a mapping"),
        ("RBG", Literal["L", "RGB"], "wants one of L, RGB, not 'RBG'; did you mean 'RGB'"),
        (True, Literal[1], "wants one of 1"),
        ([], int | str, "wants an integer or a string, not []"),
        ("x", int | None, "wants an integer, not 'x'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_would(value: Any, hint: Any, said: str) -> None:
    with pytest.raises(Misfit) as misfit:
        fit(value, hint)

    assert said in str(misfit.value)


def test_columns_parameters_and_the_context_are_told_apart() -> None:
    found = signature(draw)

    assert found.columns == ("image",)
    assert list(found.parameters) == ["size", "mode", "scale"]
    assert found.takes_context


def test_everything_that_is_wrong_is_told_at_once() -> None:
    values, problems = check(signature(draw), {"mode": "X", "scal": 2, "scale": 3})

    assert values == {"scale": 3.0}
    assert [problem.key for problem in problems] == ["mode", "scal", "size"]
    assert problems[1].message == "no parameter 'scal'; did you mean 'scale'?; allowed: size, mode, scale"
    assert problems[2].message == "parameter 'size' is missing; it wants a list of 2 values (an integer, an integer)"


def test_a_function_of_named_rest_takes_any_name_and_checks_each_value() -> None:
    def rename(batch: Any, /, **names: str) -> Any:
        """As tensors.rename."""

    values, problems = check(signature(rename), {"a": "b", "c": 1})

    assert values == {"a": "b"}
    assert [problem.key for problem in problems] == ["c"]


def test_a_key_that_is_no_text_is_a_problem_and_no_crash() -> None:
    _, problems = check(signature(draw), {1: 2, "size": [1, 2]})  # type: ignore[dict-item]

    assert [problem.key for problem in problems] == [1]
