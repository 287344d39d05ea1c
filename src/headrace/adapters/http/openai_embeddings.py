"""``POST /v1/embeddings``: texts or tokens in, a vector for each out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from headrace.adapters.http.call import Call
from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.openai_columns import (
    MASK,
    TOKENS,
    prompt_rows,
    required_vectors,
    words_in,
)
from headrace.adapters.http.openai_requests import (
    EmbeddingRequest,
    Prompts,
    asked_for,
    further_inputs,
    prompts_of,
    read,
    refused,
)
from headrace.domain.errors import ModelFailure
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Array
from headrace.services.context import Result
from headrace.services.inputs import rows_to_inputs

_HIT: Final = b"headrace; hit"
_MISS: Final = b"headrace; fwd=miss"


class EmbeddingCalls:
    """Answers embedding calls."""

    def __init__(self, native: NativeCalls) -> None:
        self._native = native

    async def create(self, call: Call) -> None:
        """``POST /v1/embeddings``. One text that fails fails the request."""
        call.uncounted = True
        given, body = await read(call, EmbeddingRequest, self._native.max_body)
        request = self._native.request(call)
        choice = self._native.choose(call, asked_for(given.model, request, body))
        pipeline = choice.pipeline
        required_vectors(pipeline)
        prompts = prompts_of(given.input, "input")
        inputs = rows_to_inputs(pipeline, _rows(given, body, pipeline, prompts))
        result = await self._native.run(call, choice, inputs, request)
        vectors = _vectors(result, required_vectors(pipeline))
        if given.dimensions is not None and "dimensions" not in pipeline.inputs:
            vectors = shortened(vectors, given.dimensions)
        packed = given.encoding_format == "base64"
        # A client of the protocol may not look at keys that it does not know: here a header says it (RFC 9211).
        told = [] if pipeline.spec.cache is None else [(b"cache-status", _HIT if result.cached else _MISS)]
        await call.answer_json(_answer(result, vectors, prompts, packed=packed), extra=told)


def _vectors(result: Result, name: str) -> Array:
    """The embeddings in the output *name*, as float32 [n, d]."""
    try:
        vectors = np.ascontiguousarray(result.column(name), dtype=np.float32)
    except ValueError:
        raise ModelFailure(f"the vectors in {name!r} differ in length") from None
    if vectors.ndim != 2:
        raise ModelFailure(f"{name!r} wants one vector for each row, and has the shape {vectors.shape}")
    return vectors


def _rows(given: EmbeddingRequest, body: dict[str, Any], pipeline: Pipeline, prompts: Prompts) -> list[dict[str, Any]]:
    """One row of inputs for each text."""
    further = further_inputs(body, EmbeddingRequest, pipeline)
    if given.dimensions is not None:
        if given.dimensions < 1:
            raise refused("dimensions", f"dimensions: at least 1 is wanted, not {given.dimensions}")
        if "dimensions" in pipeline.inputs:
            further["dimensions"] = given.dimensions
    return [{**further, **row} for row in prompt_rows(pipeline, prompts, "input")]


def shortened(vectors: Array, dimensions: int) -> Array:
    """The first *dimensions* numbers of each of *vectors* (float32 [n, d]), brought to length 1.

    A vector of zeros stays one. Raises InvalidRequest where there are fewer numbers.
    """
    if dimensions > vectors.shape[1]:
        raise refused("dimensions", f"dimensions: the vectors have {vectors.shape[1]}, and {dimensions} are wanted")
    wide = vectors[:, :dimensions].astype(np.float64)  # the square of a large float32 is infinite
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    result: Array = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0).astype(np.float32)
    return result


def _answer(result: Result, vectors: Array, prompts: Prompts, *, packed: bool) -> dict[str, Any]:
    tokens = _tokens(result, prompts)
    embeddings: Sequence[Any] = [_base64(vector) for vector in vectors] if packed else list(vectors)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": embedding}
            for index, embedding in enumerate(embeddings)
        ],
        "model": str(result.ref),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _base64(vector: Array) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).data).decode("ascii")


def _tokens(result: Result, prompts: Prompts) -> int:
    """What the pipeline counts, in ``tokens`` or as the ones of ``attention_mask``; else tokens given, or words.

    The length of ``input_ids`` would count the filling that the neighbours in a batch made necessary.
    """
    for name in (TOKENS, MASK):
        if name in result.columns:
            return int(sum(np.sum(row) for row in result.column(name)))
    return words_in(prompts)
