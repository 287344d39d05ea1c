"""Do rows of a table reach the model as it was trained, with gaps filled and strangers refused?"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput
from headrace.domain.fit import StepUse, compose
from headrace.domain.step import Context, step_type
from headrace.domain.steps import STEPS
from headrace.domain.steps.tables import bin, fill, one_hot, scale, select
from headrace.domain.tensors import TensorSpec

Apply = Callable[..., Batch]


def test_a_row_of_mixed_columns_becomes_one_vector() -> None:
    uses = [
        StepUse(name, step_type(STEPS[name]), params)
        for name, params in [
            ("tables.fill", {"values": {"age": 40, "colour": "red"}}),
            ("tables.scale", {"columns": {"age": [40, 10]}}),
            ("tables.one_hot", {"categories": {"colour": ["red", "green"]}}),
            ("tables.select", {"columns": ["age", "colour", "height"], "into": "X"}),
        ]
    ]

    plan = compose(uses, {"X": TensorSpec("float32", (-1, 4))}, {}, [])
    batch = Batch({"age": [50, None], "colour": [None, "green"], "height": [1, 2.5]})
    for step in plan.before:
        after = step.run(batch, Context())
        assert isinstance(after, Batch)
        batch = after

    assert plan.problems == []
    assert {name: spec.optional for name, spec in plan.inputs.items()} == {
        "age": True, "colour": True, "height": False,
    }  # fmt: skip
    assert batch.columns["X"].tolist() == [[1, 1, 0, 1], [0, 0, 1, 2.5]]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.integers(-1000, 1000)), min_size=1, max_size=8))
def test_a_row_is_the_same_alone_as_in_a_batch(rows: list[tuple[float, int]]) -> None:
    first, second = [row[0] for row in rows], [row[1] for row in rows]

    together = select(first, second, columns=("a", "b"))
    alone = [select([a], [b], columns=("a", "b")) for a, b in rows]

    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, np.concatenate(alone))
    scaled = scale(first, columns={"a": (1.0, 2.0)})["a"]
    np.testing.assert_array_equal(scaled, np.concatenate([scale([a], columns={"a": (1.0, 2.0)})["a"] for a in first]))


def test_what_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'b' holds the string 'x'"):
        select([1.0], ["x"], columns=("a", "b"))
    with pytest.raises(InvalidInput, match=r"'a' holds null \(tables.fill"):
        select([None, 1.0], columns=("a",))
    with pytest.raises(InvalidInput, match="'a' holds fractions"):
        select([1.5], columns=("a",), dtype="int64")
    with pytest.raises(InvalidInput, match="'a' holds fractions"):
        select([float("nan")], columns=("a",), dtype="int64")
    with pytest.raises(InvalidInput, match="'a' holds NaN"):
        bin([float("nan")], edges={"a": [0.0]})


def test_arrays_keep_their_type_when_gaps_are_filled(apply: Apply) -> None:
    columns = {"a": np.array([1.0, np.nan], np.float32), "b": np.array([1, 2])}

    after = apply("tables.fill", columns, {"values": {"a": 7, "b": 0}}).columns

    assert after["a"].tolist() == [1, 7]
    assert (after["a"].dtype, after["b"].dtype) == (np.float32, np.int64)
    assert np.isnan(columns["a"][1]), "the input was changed"


def test_text_does_not_fill_a_column_of_numbers() -> None:
    with pytest.raises(InvalidInput, match="wants string, not the number 1"):
        fill([1, None], values={"a": "x"})
    with pytest.raises(InvalidInput, match="holds the string 'x'"):
        fill(["x", None], values={"a": 1})


def test_scaling_to_a_range_may_leave_it(apply: Apply) -> None:
    after = apply("tables.scale", {"a": np.array([0.0, 5.0, 20.0])}, {"columns": {"a": [0, 10]}, "method": "min_max"})

    assert after.columns["a"].tolist() == [0.0, 0.5, 2.0]


def test_an_unknown_category_is_refused_or_becomes_zeros() -> None:
    with pytest.raises(InvalidInput, match="'c' holds 'blue'; the categories are: red, green"):
        one_hot(["red", "blue"], categories={"c": ["red", "green"]})

    zeros = one_hot(["blue", None], categories={"c": ["red"]}, unknown="zeros")["c"]

    assert zeros.tolist() == [[0], [0]]  # type: ignore[union-attr]


def test_true_is_another_category_than_one() -> None:
    hot = one_hot([2, 1], categories={"c": [1, 2]})["c"]

    assert hot.tolist() == [[0, 1], [1, 0]]  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="holds 'True'"):
        one_hot([True], categories={"c": [1, 2]})


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.lists(st.floats(-100, 100), min_size=1, unique=True))
def test_a_bin_counts_the_edges_at_or_below_a_number(values: list[float], edges: list[float]) -> None:
    edges.sort()

    bins = bin(values, edges={"a": edges})["a"]

    assert list(bins) == [sum(edge <= value for edge in edges) for value in values]


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    assert "rising edges for 'a'" in problems("tables.bin", {"edges": {"a": [2, 1]}})[0]
    assert "different categories for 'a'" in problems("tables.one_hot", {"categories": {"a": []}})[0]
    assert "[mean, standard deviation] for 'a'" in problems("tables.scale", {"columns": {"a": [1, 0]}})[0]
    assert "[smallest, largest] for 'a'" in problems("tables.scale", {"columns": {"a": [1, 1]}, "method": "min_max"})[0]
    assert "different columns" in problems("tables.select", {"columns": ["a", "a"]})[0]
    assert "a number or a text for 'a'" in problems("tables.fill", {"values": {"a": [1]}})[0]
    text = {"a": TensorSpec("string", (-1,))}
    assert "holds string, but float64 is wanted" in problems("tables.select", {"columns": ["a"]}, text)[0]
    matrix = {"a": TensorSpec("float32", (-1, 2, 2))}
    assert "numbers or vectors" in problems("tables.select", {"columns": ["a"]}, matrix)[0]


def test_any_number_of_bad_rows_leave_alone(apply: Apply) -> None:
    colours = ["red" if row % 3 else f"strange {row}" for row in range(300)]

    after = apply("tables.one_hot", {"colour": colours}, {"categories": {"colour": ["red"]}})

    assert sorted(after.failures) == list(range(0, 300, 3))
    assert "'strange 297'" in str(after.failures[297])
    assert after.size == 200
    assert np.all(after.columns["colour"] == 1)
