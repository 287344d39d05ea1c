"""What is checked once for all requests of one form, and what does it hold on to?"""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from tests.adapters.grpc.calls import request, tensor
from tests.adapters.http.conftest import DOUBLE, SHOUT, MemoryWorkspace, Recipe

from headrace.adapters.grpc.convert import Layout, answer, layout_of
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.requests import Reader
from headrace.domain.errors import InvalidInput
from headrace.domain.pipeline import Pipeline
from headrace.services.context import Result, Timing


def built(recipe: Recipe) -> Pipeline:
    return MemoryWorkspace([recipe], [], None).build(recipe.spec)


def read(message: Any) -> Any:
    return Reader().read(message.SerializeToString())


def test_a_question_is_held_against_a_pipeline_once() -> None:
    asked, pipeline = read(request()), built(DOUBLE)

    first = layout_of(asked.question, pipeline)

    assert layout_of(asked.question, pipeline) is first
    assert layout_of(asked.question, built(DOUBLE)) is not first


def test_what_is_remembered_keeps_no_model_in_memory() -> None:
    asked, pipeline = read(request()), built(DOUBLE)
    layout, gone = layout_of(asked.question, pipeline), weakref.ref(pipeline)

    del pipeline
    gc.collect()

    assert gone() is None
    assert not layout.of(built(DOUBLE))


def test_columns_are_arrays_of_their_own() -> None:
    asked = read(request())

    column = Layout(asked.question, built(DOUBLE)).inputs(asked.values).columns["x"]

    assert isinstance(column, np.ndarray)
    assert (column.dtype, column.shape) == (np.dtype("float32"), (2, 2))
    assert column.flags.writeable and column.flags.aligned and column.flags.c_contiguous


def test_numbers_and_single_values_are_told_apart() -> None:
    numbers, texts = read(request()), read(request("shout", tensor("text", [b"a"])))

    assert not Layout(numbers.question, built(DOUBLE)).listed
    assert Layout(texts.question, built(SHOUT)).listed


@pytest.mark.parametrize("column", [
    np.arange(8, dtype=np.float32).reshape(4, 2)[::2],
    np.arange(4, dtype=np.float32).reshape(2, 2).T,
    np.arange(4, dtype=">f4").reshape(2, 2),
    [np.array([1, 2], np.float32), np.array([3, 4], np.float32)],
], ids=["strided", "transposed", "big-endian", "listed"])  # fmt: skip
def test_a_column_travels_row_by_row_however_it_lies_in_memory(column: Any) -> None:
    asked, pipeline = read(request(id="q")), built(DOUBLE)
    result = Result(pipeline.ref, {"y": column}, range(len(column)), Timing())

    told = messages.ModelInferResponse.FromString(
        answer(result, pipeline, Layout(asked.question, pipeline).outputs, asked)
    )

    found = np.frombuffer(told.raw_output_contents[0], "<f4").reshape(told.outputs[0].shape)
    assert np.array_equal(found, np.asarray(column, np.float32))


def test_a_failed_row_fails_the_request() -> None:
    asked, pipeline = read(request()), built(DOUBLE)
    result = Result(pipeline.ref, {"y": np.zeros((1, 2), np.float32)}, [0, InvalidInput("the second one")], Timing())

    with pytest.raises(InvalidInput, match="the second one"):
        answer(result, pipeline, Layout(asked.question, pipeline).outputs, asked)
