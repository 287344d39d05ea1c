"""Are long JSON numbers read into arrays exactly where the slower way would read the same?"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.http.open_inference_numbers import numbers
from headrace.domain.tensors import TensorSpec

FLOAT32 = TensorSpec("float32", (-1, -1), "x")
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(shape=SHAPES, data=st.data(), nested=st.booleans(), indent=st.sampled_from([None, 1]))
def test_lists_of_the_stated_shape_or_flat_ones_become_the_same_array(
    shape: list[int], data: st.DataObject, nested: bool, indent: int | None
) -> None:
    count = int(np.prod(shape))
    values = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=count, max_size=count))
    array = np.array(values).reshape(shape)

    found = numbers(json.dumps(array.tolist() if nested else values, indent=indent).encode(), FLOAT32, shape)

    assert found is not None
    np.testing.assert_array_equal(found, array.astype(np.float32))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("[[1, 2], [3]]", [3]),
        ("[[1, 2], [3]]", [1, 3]),
        ("[[1, 2], [3, 4]]", [4, 1]),
        ("[[1], [2, 3, 4]]", [2, 2]),
        ("[[1, 2], 3]", [1, 3]),
        ("[[1, 2, 3]]", [1, 4]),
        ("[1, 2, 3]", [2, 2]),
        ("[true, 1]", [2]),
        ('["1", 2]', [2]),
        ("[null]", [1]),
        ("[1e400]", [1]),
        ("[123456789012345678901234567890]", [1]),
    ],
)
def test_whatever_is_not_as_usual_is_left_to_the_slower_way(text: str, shape: list[int]) -> None:
    assert numbers(text.encode(), FLOAT32, shape) is None


def test_whole_numbers_are_not_read_through_a_double() -> None:
    assert numbers(b"[9007199254740993]", TensorSpec("int64", (-1,), "x"), [1]) is None


def test_a_shape_that_is_a_lie_is_not_built() -> None:
    # Nested lists of that shape would fill any memory.
    assert numbers(b"[[1, 2], [3, 4], [5, 6]]", FLOAT32, [2**31 - 1, 2**31 - 1]) is None
