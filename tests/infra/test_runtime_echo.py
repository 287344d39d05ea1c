"""What does the model without weights answer, and does it answer the same each time?"""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.errors import DeadlineExceeded, InvalidConfig, InvalidInput
from headrace.domain.model import GenerativeModel
from headrace.infra.runtimes.echo import EchoModel


def echo(**config: Any) -> EchoModel:
    model = EchoModel()
    model.load("", {"name": "echo", **config})
    return model


async def chunks(model: EchoModel, text: str, limit: int = 0, deadline: float | None = None) -> list[str]:
    inputs = {"text": [text], "max_tokens": np.array([limit])}
    return [str(chunk["text"][0]) async for chunk in model.generate(inputs, deadline)]


def test_without_specs_text_goes_in_and_comes_out() -> None:
    model = echo()

    answer = model.predict({"text": ["one two", "three"], "max_tokens": np.array([0, 0])})

    assert answer == {"text": ["one two", "three"]}
    assert model.get_output_spec().keys() == {"text"}


def test_columns_go_in_and_come_out() -> None:
    model = echo(input_spec=[{"name": "x", "shape": [-1, 2]}, {"name": "label", "dtype": "string"}])
    x = np.ones((1, 2), dtype=np.float32)

    assert model.predict({"x": x, "label": ["a"]}) == {"x": x, "label": ["a"]}


def test_other_outputs_depend_on_the_row_alone() -> None:
    model = echo(
        input_spec=[{"name": "text", "dtype": "string"}],
        output_spec=[
            {"name": "scores", "shape": [-1, 3]},
            {"name": "rank", "dtype": "int64"},
            {"name": "sure", "dtype": "bool"},
            {"name": "id", "dtype": "string"},
            {"name": "raw", "dtype": "bytes"},
            {"name": "picture", "dtype": "image", "shape": [-1, 2, 2, 3]},
        ],
    )

    many = model.predict({"text": ["a", "b", "a"]})
    one = model.predict({"text": ["a"]})

    for name, column in many.items():
        np.testing.assert_array_equal(column[0], one[name][0])
        np.testing.assert_array_equal(column[0], column[2])
    assert np.shape(many["scores"]) == (3, 3)
    assert many["scores"].dtype == np.float32
    assert many["id"][0] != many["id"][1]


def test_a_model_without_a_batch_axis_answers_whole_tensors() -> None:
    model = echo(input_spec=[{"name": "x", "shape": [4]}], output_spec=[{"name": "y", "shape": [2, -1]}], batched=False)

    assert np.shape(model.predict({"x": np.zeros(4, np.float32)})["y"]) == (2, 1)


@given(st.text(), st.integers(0, 5))
async def test_the_chunks_joined_are_the_answer(text: str, limit: int) -> None:
    model = echo()

    words = await chunks(model, text, limit)

    assert ["".join(words)] == model.predict({"text": [text], "max_tokens": np.array([limit])})["text"]
    assert not limit or len(words) <= limit
    assert limit or "".join(words) == text


async def test_it_generates_word_by_word_up_to_the_limit() -> None:
    model = echo()

    assert isinstance(model, GenerativeModel)
    assert await chunks(model, "one two  three ") == ["one", " two", "  three "]
    assert await chunks(model, "one two three", limit=2) == ["one", " two"]


async def test_a_deadline_ends_the_answer() -> None:
    with pytest.raises(DeadlineExceeded):
        await chunks(echo(), "one two", deadline=time.monotonic() - 1)


async def test_it_generates_from_text_alone() -> None:
    model = echo(input_spec=[{"name": "x"}])

    with pytest.raises(InvalidInput, match="'text'"):
        async for _ in model.generate({"x": np.ones(1)}, None):
            pass


async def test_it_fails_when_asked_to() -> None:
    model = echo(options={"fail_on": "bad"})

    with pytest.raises(RuntimeError):
        model.predict({"text": ["good", "bad one"]})
    with pytest.raises(RuntimeError):
        await chunks(model, "bad")
    assert model.predict({"text": ["good"]}) == {"text": ["good"]}


async def test_a_delay_is_waited_for() -> None:
    model = echo(options={"delay_s": 0.002})
    started = time.monotonic()

    model.predict({"text": ["one"]})
    await chunks(model, "one two")

    assert time.monotonic() - started >= 0.006


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"model 'echo': options: .*did you mean 'delay_s'"):
        echo(options={"delay": 1})
