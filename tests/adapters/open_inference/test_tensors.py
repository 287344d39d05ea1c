"""Is a flat list taken for what it is when nested, whatever stands in it?"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.open_inference.tensors import folded, in_shape
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import NUMBERS, Column, TensorSpec, to_column

SHAPE = (2, 1, 3)
VALUES = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.sampled_from([None, "a", "1", [1], {}, 255, 256, 2**63, 2**64, 1e300, -0.0, 65520.0]),
)


def outcome(column: Column, spec: TensorSpec) -> Any:
    """The column, or how it is refused."""
    try:
        return to_column(column, spec)
    except InvalidInput as error:
        return error.message


@given(values=st.lists(VALUES, min_size=6, max_size=6), dtype=st.sampled_from(NUMBERS))
def test_flat_lists_are_judged_as_nested_ones_are(values: list[Any], dtype: str) -> None:
    spec = TensorSpec(dtype, (-1, 1, 3), "x")

    found, wanted = (outcome(column, spec) for column in (in_shape(values, SHAPE, spec), folded(values, SHAPE)))

    assert type(found) is type(wanted)
    if isinstance(found, str):
        assert found == wanted
    else:
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [name for name in NUMBERS if name != "bool"])
def test_plain_numbers_in_many_axes_are_an_array_at_once(dtype: str) -> None:
    column = in_shape([1, 2, 3, 4, 5, 6], SHAPE, TensorSpec(dtype, (-1, 1, 3), "x"))

    assert isinstance(column, np.ndarray)
    assert (column.dtype, column.shape) == (np.dtype(dtype), SHAPE)
    assert column.flags.writeable


def test_few_axes_stay_lists_until_their_batch_is_formed() -> None:
    assert in_shape([1, 2, 3, 4], (2, 2), TensorSpec("float32", (-1, 2))) == [[1, 2], [3, 4]]


def test_nothing_stays_nothing() -> None:
    assert in_shape([], (0, 2, 2), TensorSpec("float32", (-1, 2, 2))) == []
    assert in_shape([], (1, 0, 2), TensorSpec("float32", (-1, -1, 2))) == [[]]
