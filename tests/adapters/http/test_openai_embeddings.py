"""Do embeddings come out as the protocol says, for every form of input, and are the bad ones refused?"""

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from headrace.domain.tensors import TensorSpec

WIDTH = 4


def _vector(text: str) -> list[float]:
    return [float(len(text)), float(text.count("a")), 3.0, 4.0]


def _embedded(inputs: Any) -> dict[str, Any]:
    if "bad" in inputs["text"]:
        raise ValueError("no such word; see /srv/secret/place")
    return {"embeddings": np.array([_vector(text) for text in inputs["text"]], np.float32)}


def _sums(inputs: Any) -> dict[str, Any]:
    """Of tokens: their sum, the sum of the mask, and twice what the model counts."""
    ids, mask = list(inputs["input_ids"]), list(inputs["attention_mask"])
    vectors = np.array([[np.sum(one), np.sum(other)] for one, other in zip(ids, mask, strict=True)], np.float64)
    return {"sentence_embedding": vectors, "tokens": np.array([2 * len(one) for one in ids])}


VECTORS = TensorSpec("float32", (-1, WIDTH))
TEXT = TensorSpec("string")
TOKENS = TensorSpec("int64", (-1, -1))
NUMBER = TensorSpec("int64")


@pytest.fixture
async def asked(open_house: Any, connect: Any, add: Any) -> AsyncIterator[Any]:
    recipe = type(add)
    recipes = (
        recipe("words", {"text": TEXT}, {"embeddings": VECTORS}, _embedded),
        recipe(
            "tokens",
            {"input_ids": TOKENS, "attention_mask": TOKENS},
            {"sentence_embedding": TensorSpec("float64", (-1, 2)), "tokens": NUMBER},
            _sums,
        ),
        recipe(
            "masked",
            {"text": TEXT},
            {"vector": VECTORS, "attention_mask": TOKENS},
            lambda inputs: {
                "vector": np.ones((len(inputs["text"]), WIDTH), np.float32),
                "attention_mask": np.tile([1, 1, 1, 0], (len(inputs["text"]), 1)),
            },
        ),
        recipe(
            "wide",
            {"text": TEXT, "dimensions": TensorSpec("int64", (-1,), "dimensions", 3, True)},
            {"embedding": TensorSpec("float32", (-1, -1))},
            lambda inputs: {"embedding": np.full((len(inputs["text"]), inputs["dimensions"][0]), 2, np.float32)},
        ),
        recipe(
            "two", {"text": TEXT}, {"a": VECTORS, "b": VECTORS}, lambda inputs: dict.fromkeys("ab", np.ones((1, 4)))
        ),
        recipe("more", {"text": TEXT, "x": NUMBER}, {"v": VECTORS}, lambda inputs: {"v": np.ones((1, 4), np.float32)}),
        add,
    )
    async with open_house(recipes, default="words") as house, connect(house.app) as client:

        async def post(**body: Any) -> Any:
            return await client.post("/v1/embeddings", json=body)

        yield post


async def test_a_text_becomes_a_vector(asked: Any) -> None:
    answer = await asked(model="words", input="a banana", user="me")

    assert answer.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [8.0, 4.0, 3.0, 4.0]}],
        "model": "words@1",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


async def test_texts_become_vectors_in_their_order(asked: Any) -> None:
    data = (await asked(model="words@1", input=["aa", "b", ""])).json()["data"]

    assert [one["index"] for one in data] == [0, 1, 2]
    assert [one["embedding"] for one in data] == [_vector("aa"), _vector("b"), _vector("")]


async def test_base64_holds_the_same_numbers_as_little_endian_float32(asked: Any) -> None:
    plain = (await asked(model="tokens", input=[1, 2], encoding_format="float")).json()["data"][0]["embedding"]
    packed = (await asked(model="tokens", input=[1, 2], encoding_format="base64")).json()["data"][0]["embedding"]

    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == plain == [3.0, 2.0]


async def test_tokens_go_to_a_pipeline_that_takes_them_and_are_counted_by_it(asked: Any) -> None:
    answer = (await asked(model="tokens", input=[[5, 6, 7], [1]])).json()

    assert [one["embedding"] for one in answer["data"]] == [[18.0, 3.0], [1.0, 1.0]]
    assert answer["usage"]["prompt_tokens"] == 8


async def test_a_mask_tells_how_many_tokens_there_were(asked: Any) -> None:
    assert (await asked(model="masked", input=["a", "b c"])).json()["usage"]["total_tokens"] == 6


async def test_fewer_dimensions_are_the_first_ones_brought_to_length_one(asked: Any) -> None:
    first = (await asked(model="words", input="aaa", dimensions=2)).json()["data"][0]["embedding"]
    zeros = (await asked(model="words", input="", dimensions=2)).json()["data"][0]["embedding"]

    assert first == pytest.approx([3 / 18**0.5, 3 / 18**0.5])
    assert zeros == [0.0, 0.0]


async def test_a_pipeline_that_takes_dimensions_is_told(asked: Any) -> None:
    assert (await asked(model="wide", input="a", dimensions=2)).json()["data"][0]["embedding"] == [2.0, 2.0]
    assert (await asked(model="wide", input="a")).json()["data"][0]["embedding"] == [2.0, 2.0, 2.0]


async def test_other_inputs_of_the_pipeline_are_given_beside(asked: Any) -> None:
    answer = await asked(model="more", input="a", x=3)

    assert answer.status_code == 200


async def test_a_request_without_a_model_goes_to_the_default(asked: Any) -> None:
    assert (await asked(input="a")).json()["model"] == "words@1"


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        ({"model": "nope", "input": "a"}, 404, None, "no pipeline 'nope'"),
        ({"model": "add", "input": "a"}, 400, "model", "gives no embedding"),
        ({"model": "two", "input": "a"}, 400, "model", "named embeddings or embedding"),
        ({"model": "words"}, 400, "input", "lacks 'input'"),
        ({"model": "words", "input": []}, 400, "input", "is empty"),
        ({"model": "words", "input": [[]]}, 400, "input", "is empty"),
        ({"model": "words", "input": ["a", 1]}, 400, "input", "mixture"),
        ({"model": "words", "input": [1, 2]}, 400, "input", "takes no tokens"),
        ({"model": "tokens", "input": "a"}, 400, "input", "takes no text; send lists of tokens"),
        ({"model": "words", "input": {"text": "a"}}, 400, "input", "got object"),
        ({"model": "words", "input": "a", "encoding_format": "hex"}, 400, "encoding_format", "hex"),
        ({"model": "words", "input": "a", "dimensions": 0}, 400, "dimensions", "at least 1"),
        ({"model": "words", "input": "a", "dimensions": 5}, 400, "dimensions", "have 4"),
        ({"model": "words", "input": "a", "dimension": 2}, 400, "dimension", "did you mean"),
        ({"model": "more", "input": "a"}, 422, "x", "lacks 'x'"),
        ({"model": "more", "input": "a", "x": "y"}, 422, None, "wants int64"),
        ({"model": "words", "input": ["a", "bad"]}, 500, None, "[path]"),
    ],
)
async def test_what_does_not_fit_is_refused_by_name(
    asked: Any, body: dict[str, Any], status: int, param: str | None, said: str
) -> None:
    answer = await asked(**body)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert said in error["message"]
