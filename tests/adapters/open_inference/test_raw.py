"""Are the bytes of a tensor read as its datatype and shape say, and is every lie about them noticed?"""

import struct
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.open_inference.datatypes import DATATYPES, DTYPES
from headrace.adapters.open_inference.raw import array_of, column_of, elements, raw_of, raw_of_elements
from headrace.domain.errors import InvalidInput
from headrace.domain.tensors import TensorSpec


class Told(NamedTuple):
    """What a tensor says of itself."""

    datatype: str = "BYTES"
    shape: tuple[int, ...] = (2,)
    name: str = "x"


ANY = TensorSpec("any", None)


@pytest.mark.parametrize("dtype", DATATYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (6,), ()], ids=str)
def test_numbers_come_back_as_they_went(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.resize(np.array([0, 1, 3]), shape).astype(dtype)

    column = column_of(memoryview(raw_of(array)).tobytes(), Told(DATATYPES[dtype], shape), ANY)

    assert isinstance(column, np.ndarray)
    assert (column.dtype, column.shape) == (array.dtype, shape or (1,))
    assert np.array_equal(column.reshape(shape), array)


def test_any_byte_but_zero_is_true() -> None:
    assert array_of(b"\0\1\2\xff", DTYPES["BOOL"], (4,)).tolist() == [False, True, True, True]


def test_arrays_are_aligned_and_free_to_be_written_to() -> None:
    view = memoryview(b"." + np.arange(4, dtype="<f8").tobytes())[1:]

    array = array_of(view, DTYPES["FP64"], (4,))

    assert array.flags.aligned and array.flags.writeable
    assert array.tolist() == [0, 1, 2, 3]


def test_bytes_that_may_be_written_to_are_not_copied() -> None:
    whole = bytearray(np.arange(4, dtype="<f4").tobytes())

    array = array_of(memoryview(whole), DTYPES["FP32"], (4,))
    array[0] = 7

    assert struct.unpack_from("<f", whole) == (7.0,)


@pytest.mark.parametrize("size", [0, 3, 7, 9])
def test_more_or_fewer_bytes_than_the_shape_says(size: int) -> None:
    with pytest.raises(InvalidInput, match=rf"8 bytes of FP32; {size} bytes were sent"):
        column_of(bytes(size), Told("FP32", (2,)), ANY)


@given(st.lists(st.binary(max_size=20)))
def test_elements_come_back_as_they_went(values: list[bytes]) -> None:
    assert elements(raw_of_elements(values), Told()) == values


@given(st.binary(max_size=40))
def test_lengths_inside_that_lie_are_noticed(raw: bytes) -> None:
    try:
        found = elements(raw, Told())
    except InvalidInput:
        return
    assert raw_of_elements(found) == raw


@pytest.mark.parametrize(
    ("dtype", "value", "meant"),
    [("string", "ö".encode(), "ö"), ("bytes", b"\xff", b"\xff"), ("any", b'{"a": 1}', {"a": 1}), ("int64", b"3", 3)],
)
def test_elements_are_what_the_column_wants(dtype: str, value: bytes, meant: Any) -> None:
    raw = raw_of_elements([value, value])

    assert column_of(raw, Told(), TensorSpec(dtype)) == [meant, meant]
    assert column_of(raw, Told(shape=(1, 2)), TensorSpec(dtype, (-1, 2))) == [[meant, meant]]


def test_bytes_may_be_base64_where_the_tensor_says_so() -> None:
    raw = raw_of_elements([b"aGk=", b"aGk="])

    assert column_of(raw, Told(), TensorSpec("bytes"), {"content_type": "base64"}) == [b"hi", b"hi"]
    with pytest.raises(InvalidInput, match="base64"):
        column_of(raw_of_elements([b"?", b"?"]), Told(), TensorSpec("bytes"), {"content_type": "base64"})


@pytest.mark.parametrize(("dtype", "told"), [("string", "UTF-8"), ("any", "JSON")])
def test_elements_that_cannot_be_read_are_refused(dtype: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        column_of(raw_of_elements([b"\xff", b"\xff"]), Told(), TensorSpec(dtype))


def test_numbers_travel_row_by_row_and_lowest_byte_first() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T

    assert bytes(raw_of(array)) == struct.pack("<6i", 0, 3, 1, 4, 2, 5)
