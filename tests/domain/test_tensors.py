"""What a value becomes and whether it is accepted: strictly, and whoever stands beside it in the batch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.coerce import coerce
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import Column, TensorSpec, misfit, to_column


def spec(dtype: str, *row: int) -> TensorSpec:
    return TensorSpec(dtype, (-1, *row), "x")


@pytest.mark.parametrize(
    ("dtype", "row", "value", "becomes"),
    [
        ("float32", (), 1, 1.0),
        ("float32", (), True, 1.0),
        ("float32", (2,), [1, 2.5], [1.0, 2.5]),
        ("float64", (), 2**63, 9.223372036854775808e18),
        ("float64", (), 10**30, 1e30),
        ("float32", (), 1e300, float("inf")),
        ("int64", (), 2.0, 2),
        ("int64", (), 2**53 + 1, 2**53 + 1),
        ("int64", (2,), [2**53 + 1, 2.0], [2**53 + 1, 2]),
        ("uint64", (), 2**64 - 1, 2**64 - 1),
        ("int8", (), -128, -128),
        ("bool", (), True, True),
        ("bool", (2,), [True, False], [True, False]),
        ("float32", (-1,), [], []),
        ("int64", (-1, 2), [], None),
        ("string", (), "ä", "ä"),
        ("string", (2,), ["a", "b"], ["a", "b"]),
        ("bytes", (), b"\x01", b"\x01"),
    ],
)
def test_a_value_that_fits_becomes_what_its_column_holds(
    dtype: str, row: tuple[int, ...], value: Any, becomes: Any
) -> None:
    if becomes is None:
        with pytest.raises(InvalidInput, match="rows of shape"):
            to_column([value], spec(dtype, *row))
        return

    column = to_column([value], spec(dtype, *row))

    assert np.asarray(column[0]).tolist() == becomes
    if spec(dtype).numeric:
        assert isinstance(column, np.ndarray) and column.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1", "the string '1'"),
        ("", "the string ''"),
        (None, "null"),
        ({}, "an object"),
        ({"a": 1}, "an object"),
        (b"1", "bytes"),
        ("x" * 100, "the string 'x"),
        (1j, "a complex"),
    ],
)
def test_what_is_no_number_is_named(dtype: str, value: Any, found: str) -> None:
    for row, given_value in (((), value), ((1,), [value]), ((2,), [True, value])):
        with pytest.raises(InvalidInput) as error:
            to_column([given_value], spec(dtype, *row))

        assert "'x'" in error.value.message
        assert found in error.value.message
        assert len(error.value.message) < 200


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        ("int64", 2.5, "the fraction 2.5"),
        ("int64", float("nan"), "the fraction nan"),
        ("int64", float("inf"), "the fraction inf"),
        ("int8", 128, "128 is beyond its range"),
        ("uint8", -1, "-1 is beyond its range"),
        ("int64", 2**63, "beyond its range"),
        ("uint64", 2**64, "beyond its range"),
        ("int64", 10**30, "beyond its range"),
        ("int64", 1e30, "beyond its range"),
        ("float32", 10**400, "beyond its range"),
        ("bool", 1, "the number 1"),
        ("bool", 0.0, "the number 0.0"),
    ],
)
def test_no_number_is_bent_to_fit(dtype: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        to_column([value], spec(dtype))


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ((), [1]),
        ((2,), 1),
        ((2,), [1, 2, 3]),
        ((2,), [[1, 2]]),
        ((2, 2), [[1, 2], [3]]),
        ((2, 2), [[1, 2], 3]),
        ((2, 1, 2), [[[1, 2]], [[3, 4], [5, 6]]]),
        ((2, 1, 2), [[[1, 2]], [[3, [4]]]]),
        ((-1,), [[1], [2, 3]]),
        ((-1, -1), [1, [2]]),
        ((2,), {"a": 1, "b": 2}),
        ((2,), "ab"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_row_of_another_shape_is_refused(dtype: str, row: tuple[int, ...], value: Any) -> None:
    with pytest.raises(InvalidInput, match="column 'x' wants"):
        to_column([value], spec(dtype, *row))


@pytest.mark.parametrize(
    ("row", "value"), [((2,), "a"), ((2,), ["a"]), ((2,), [["a", "b"]]), ((-1, -1), [["a"], ["b", "c"]]), ((), ["a"])]
)
def test_texts_of_another_shape_are_refused(row: tuple[int, ...], value: Any) -> None:
    with pytest.raises(InvalidInput):
        to_column([value], spec("string", *row))


@pytest.mark.parametrize("shape", [(-1,), (-1, 2), None])
@pytest.mark.parametrize("dtype", ["float32", "int64", "string"])
def test_lists_nested_without_end_are_an_ordinary_error(dtype: str, shape: tuple[int, ...] | None) -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]

    batch = coerce(Batch({"x": [value, value]}), {"x": TensorSpec(dtype, shape, "x")})

    assert batch.size == 0
    assert {type(error) for error in batch.failures.values()} == {InvalidInput}
    while isinstance(value, list):  # undone by hand: freeing it at once would recurse
        value = value.pop()


def test_one_long_text_among_many_numbers_costs_no_memory() -> None:
    rows: list[Any] = [1.0] * 200_000 + ["x" * 1_000_000]  # NumPy would pad all of them to its length

    with pytest.raises(InvalidInput):
        to_column(rows, spec("float32"))


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (1, 2, 3, 1)])
def test_lists_in_lists_become_one_array(shape: tuple[int, ...]) -> None:
    wanted = np.arange(12, dtype="float32").reshape(2, *shape)

    found = to_column(wanted.tolist(), spec("float32", *shape))

    np.testing.assert_array_equal(found, wanted, strict=True)


def test_rows_that_differ_along_a_free_axis_become_a_list_of_arrays() -> None:
    column = to_column([[1, 2], [3]], spec("int64", -1))

    assert isinstance(column, list)
    assert [row.tolist() for row in column] == [[1, 2], [3]]
    assert {row.dtype.name for row in column} == {"int64"}


def test_arrays_are_taken_as_they_are_when_they_fit() -> None:
    array = np.ones((2, 3), "float32")

    assert to_column(array, spec("float32", 3)) is array
    assert to_column(np.ones((2, 3), "int8"), spec("float32", 3)).dtype == "float32"  # type: ignore[union-attr]


@pytest.mark.parametrize("array", [np.array([1.0]), np.array(["1"]), np.array([b"1"]), np.array([1], "datetime64[s]")])
def test_an_array_of_another_kind_is_refused(array: Any) -> None:
    with pytest.raises(InvalidInput, match="not an array of"):
        to_column(array, spec("int64"))


@pytest.mark.parametrize("values", [["1"], [None], [1, "2"]])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_an_array_of_objects_is_read_as_strictly_as_a_list(values: list[Any], dtype: str) -> None:
    with pytest.raises(InvalidInput):
        to_column(np.array(values, dtype=object), spec(dtype))


def test_an_array_of_objects_that_are_numbers_is_one_of_numbers() -> None:
    assert to_column(np.array([1, 2.0], dtype=object), spec("int64")).tolist() == [1, 2]  # type: ignore[union-attr]


# The neighbours.

Leaf = st.one_of(
    st.integers(-3, 300),
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**53 + 1, 2**60 + 2**36 + 1, 2**63, 2**63 + 1, -(2**63), 2**64 - 1, 10**30, 10**400]),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False, width=32),
    st.sampled_from([float("nan"), -0.0, 1e300, 2.0, True, False, None, "1", "", b"1", {}, {"a": 1}, [], [1]]),
    st.sampled_from([np.float32(2.5), np.float32(2.0), np.float64(2.0), np.int8(3), np.bool_(True), np.str_("1")]),
)
ListRow = st.one_of(Leaf, st.lists(Leaf, max_size=3), st.lists(st.lists(st.integers(0, 3), max_size=2), max_size=2))
ArrayRow = st.one_of(
    st.lists(st.integers(0, 200), min_size=1, max_size=3).map(lambda v: np.array(v, "int16")),
    st.lists(st.floats(0, 200, width=32), min_size=1, max_size=3).map(lambda v: np.array(v, "float32")),
    st.lists(st.booleans(), min_size=2, max_size=2).map(np.array),
    st.lists(st.sampled_from([1, 2.0, "1", None]), min_size=1, max_size=2).map(lambda v: np.array(v, dtype=object)),
    st.just(np.array(5)),
)
Rows = st.lists(st.one_of(ListRow, ArrayRow), min_size=1, max_size=6)
Specs = st.builds(
    lambda dtype, row: TensorSpec(dtype, None if row is None else (-1, *row), "x"),
    st.sampled_from(["bool", "uint8", "int64", "uint64", "float16", "float32", "float64", "string", "bytes"]),
    st.sampled_from([(), (-1,), (2,), (1,), (-1, -1), None]),
)


def meaning(value: Any) -> Any:
    """A converted row so that it can be compared: type, shape and bits."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return (array.dtype.str, array.shape, array.tolist() if array.dtype == object else array.tobytes())
    return value


def outcomes(column: Column, wanted: TensorSpec) -> list[Any]:
    done = coerce(Batch({"x": column}, len(column)), {"x": wanted})
    return ["refused" if isinstance(one, Exception) else meaning(one["x"]) for one in done.outcomes()]


@settings(max_examples=600, deadline=None)
@given(Rows, Specs)
def test_what_a_row_becomes_does_not_depend_on_its_neighbours(rows: list[Any], wanted: TensorSpec) -> None:
    alone = [outcomes([row], wanted)[0] for row in rows]

    assert outcomes(rows, wanted) == alone


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-300, 300), min_size=1, max_size=5), st.sampled_from(["int16", "float64", "int64"]), Specs)
def test_an_array_gives_each_row_what_it_gets_alone(values: list[int], dtype: str, wanted: TensorSpec) -> None:
    array = np.array(values, dtype)

    assert outcomes(array, wanted) == [outcomes(array[n : n + 1], wanted)[0] for n in range(len(values))]


def test_what_is_wrong_with_one_column_does_not_hide_in_another() -> None:
    specs = {"x": spec("int64"), "y": TensorSpec("string", (-1,), "y")}

    done = coerce(Batch({"x": [1, "2", 3, 4], "y": ["a", "b", 5, "d"]}), specs)

    assert done.positions == (0, 3)
    assert [error.message[:10] for _, error in sorted(done.failures.items())] == ["column 'x'", "column 'y'"]


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        (spec("float32", 64), spec("float32", 64), True),
        (spec("float32", 64), spec("float64", 64), True),
        (spec("float32", 64), spec("float32", 32), False),
        (spec("float32", 64), spec("float32"), False),
        (spec("float32", -1), spec("float32", 32), True),
        (spec("float32"), spec("string"), False),
        (spec("int64"), spec("float32"), False),
        (spec("float32"), spec("int64"), True),
        (spec("number"), spec("int8"), True),
        (spec("integer"), spec("float16"), False),
        (spec("any"), spec("image"), True),
        (spec("float32", 2), TensorSpec("float32", None), True),
    ],
)
def test_columns_fit_when_no_value_could_be_refused_for_its_kind(
    wanted: TensorSpec, found: TensorSpec, fits: bool
) -> None:
    assert (misfit(wanted, found) is None) == fits
