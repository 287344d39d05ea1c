"""Named inputs become columns: every column that the pipeline takes, and no other."""

from typing import Any

import pytest
from tests.services.pipelines import Held, pipeline

from headrace.domain.errors import InvalidInput
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec
from headrace.services.context import Inputs
from headrace.services.inputs import complete, rows_to_inputs


def form() -> Pipeline:
    takes = {
        "image": TensorSpec("bytes", (-1,), "image"),
        "note": TensorSpec("any", None, "note", default="none", optional=True),
        "size": TensorSpec("float32", (-1,), "size"),
    }
    return pipeline(Held(takes=takes))


def test_rows_become_columns_with_defaults_and_decoded_bytes() -> None:
    inputs = rows_to_inputs(
        form(), [{"image": {"base64": "aGk="}, "size": 1}, {"size": 2, "image": b"x", "note": {"a": 1}}]
    )

    assert inputs.columns == {"image": [b"hi", b"x"], "note": ["none", {"a": 1}], "size": [1, 2]}
    assert inputs.rows == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": b""}, "lacks 'size'"),
        ({"image": b"", "size": 1, "sise": 2}, "unknown input 'sise' in inputs; did you mean 'size'"),
        ({"image": {"base64": "!"}, "size": 1}, "'image' is not valid base64"),
        ({"image": {"base64": 5}, "size": 1}, "'image' is not valid base64"),
        ({"image": {"base64": "ä"}, "size": 1}, "'image' is not valid base64"),
        ([1], "must be an object"),
        (None, "must be an object"),
        ({1: 2}, "unknown input 1"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_by_name(row: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        rows_to_inputs(form(), [row])

    assert said in error.value.message


def test_a_row_that_cannot_be_read_leaves_its_neighbours() -> None:
    rows: list[Any] = [{"image": b"1", "size": 1}, {"size": 2}, {"image": b"3", "size": 3}]

    inputs = rows_to_inputs(form(), rows)

    assert inputs.columns["size"] == [1, 3]
    assert "inputs[1] lacks 'image'" in inputs.failures[1].args[0]


def test_null_is_a_value_and_not_an_absent_one() -> None:
    inputs = rows_to_inputs(form(), [{"image": b"", "size": 1, "note": None}])

    assert inputs.columns["note"] == [None]


def test_columns_are_completed_with_defaults() -> None:
    inputs = complete(form(), Inputs({"image": [b"", b""], "size": [1, 2]}, 2))

    assert inputs.columns["note"] == ["none", "none"]


@pytest.mark.parametrize("columns", [{"image": [b""]}, {"image": [b""], "size": [1], "other": [1]}])
def test_columns_too_few_or_too_many_are_refused(columns: Any) -> None:
    with pytest.raises(InvalidInput):
        complete(form(), Inputs(columns, 1))


def test_columns_that_differ_in_length_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'size' has 2 rows where the request has 1"):
        complete(form(), Inputs({"image": [b""], "size": [1, 2]}, 1))
