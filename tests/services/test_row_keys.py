"""Keys of rows: equal for equal questions however they were put, and different for everything else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.pipelines import Held, pipeline, x

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec
from headrace.services.context import Inputs
from headrace.services.row_keys import RowKeys


def test_pipelines_versions_and_digests_never_share_an_answer() -> None:
    def key(**different: Any) -> bytes | None:
        return RowKeys(pipeline(Held(), **different)).of(x(1), {})[0]

    keys = {key(), key(name="other"), key(version="2"), key(digest="new bytes")}

    assert len(keys) == 4
    assert None not in keys


def typed(dtype: str, *row: int) -> Pipeline:
    takes = {"x": TensorSpec(dtype, (-1, *row), "x")}
    return pipeline(Held(takes=takes))


def key_of(taken: Pipeline, value: Any) -> bytes | None:
    column = value if isinstance(value, np.ndarray) else [value]
    return RowKeys(taken).of(Inputs({"x": column}, 1), {})[0]


def test_it_does_not_matter_how_a_number_was_written() -> None:
    taken = typed("float32", 2)

    keys = {key_of(taken, value) for value in ([1, 2], [1.0, 2.0], np.array([[1, 2]], "int8"))}

    assert len(keys) == 1
    assert key_of(taken, [0.1, 0]) == key_of(taken, np.array([[0.1, 0]], "float32"))


def test_different_values_have_different_keys_and_what_does_not_fit_has_none() -> None:
    assert key_of(typed("int64"), 2**53) != key_of(typed("int64"), 2**53 + 1)
    assert key_of(typed("string"), "1") != key_of(typed("string"), "2")
    assert key_of(typed("float32", -1), [1]) != key_of(typed("float32", -1), [1, 0])
    for dtype, value in (("int64", 2.5), ("bool", 1), ("float32", "1"), ("int64", 10**30)):
        assert key_of(typed(dtype), value) is None


def test_an_object_that_bytes_cannot_stand_for_has_no_key() -> None:
    class Picture:
        """Its text holds an address, which another picture may have later."""

    nested: Any = 1
    for _ in range(5000):
        nested = [nested]

    assert key_of(typed("any"), Picture()) is None
    assert key_of(typed("any"), nested) is None
    assert RowKeys(typed("any")).of(x(1), {"strange": Picture()}) == [None]


def test_options_count_whatever_their_order() -> None:
    keys = RowKeys(typed("float32"))

    found = {keys.of(x(1), options)[0] for options in ({}, {"a": 1}, {"a": 2}, {"a": 1, "b": 2}, {"b": 2, "a": 1})}

    assert len(found) == 4


@pytest.mark.parametrize("shape", [(2,), (-1,), (1, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_row_has_the_same_key_alone_and_among_others(dtype: str, shape: tuple[int, ...]) -> None:
    taken = typed(dtype, *shape)
    rows: list[Any] = [[1, 2], [3, 4], [1, 2]] if len(shape) == 1 else [[[1, 2]], [[3, 4]], [[1, 2]]]

    together = RowKeys(taken).of(Inputs({"x": rows}, 3), {})

    assert together == [key_of(taken, row) for row in rows]
    assert together == [key_of(taken, np.array([row], dtype)) for row in rows]
    assert together[0] == together[2] != together[1]


def test_a_row_that_does_not_fit_leaves_the_keys_of_the_others_alone() -> None:
    taken = typed("float32", 2)

    keys = RowKeys(taken).of(Inputs({"x": [[1, 2], ["a", 2], [3, 4], [1]]}, 4), {})

    assert keys == [key_of(taken, [1, 2]), None, key_of(taken, [3, 4]), None]


def test_what_ends_one_column_never_begins_the_next() -> None:
    specs = {name: TensorSpec("string", (-1,), name) for name in "ab"}
    keys = RowKeys(pipeline(Held(takes=specs)))

    found = {keys.of(Inputs({"a": [a], "b": [b]}, 1), {})[0] for a, b in (("x", "y"), ("xy", ""), ("", "xy"))}

    assert len(found) == 3


def test_a_tensor_is_no_list_that_looks_like_its_bytes() -> None:
    array = np.array([1.0], "float32")

    assert key_of(typed("any"), [array]) != key_of(
        typed("any"), [[array.dtype.str, list(array.shape), array.tobytes()]]
    )


row = st.lists(st.one_of(st.floats(width=32), st.integers(-9, 9), st.booleans()), min_size=3, max_size=3)


@given(row, row)
def test_keys_are_equal_exactly_when_the_model_would_get_equal_bytes(one: list[Any], other: list[Any]) -> None:
    taken = typed("float32", 3)
    same = np.array(one, "float32").tobytes() == np.array(other, "float32").tobytes()

    assert (key_of(taken, one) == key_of(taken, other)) is same
