"""Which columns of a pipeline take a prompt, and which give the text, the vector and the count of tokens?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.adapters.http.openai_requests import Prompts, refused
from headrace.domain.errors import InvalidRequest
from headrace.domain.model import GenerativeModel
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import GROUPS, TensorSpec

TEXT_INPUTS: Final = ("text", "prompt", "input")
TOKENS_INPUT: Final = "input_ids"
MESSAGES: Final = "messages"
VECTORS: Final = ("embeddings", "embedding", "sentence_embedding")
FINISH: Final = "finish_reason"
TOKENS: Final = "tokens"
PROMPT_TOKENS: Final = "prompt_tokens"
MASK: Final = "attention_mask"


def text_input(pipeline: Pipeline) -> str | None:
    """The input that takes a text: by its name, or the only one of strings."""
    inputs = pipeline.inputs
    named = next((name for name in TEXT_INPUTS if name in inputs and _is_text(inputs[name], "any")), None)
    return named or _only(name for name, spec in inputs.items() if _is_text(spec))


def tokens_input(pipeline: Pipeline) -> str | None:
    """The input that takes the tokens of a text."""
    spec = pipeline.inputs.get(TOKENS_INPUT)
    return TOKENS_INPUT if spec is not None and _is_number(spec) else None


def text_output(pipeline: Pipeline) -> str | None:
    """The output that holds generated text: by its name, or the only one of strings."""
    outputs = pipeline.outputs
    if "text" in outputs and _is_text(outputs["text"], "any"):
        return "text"
    return _only(name for name, spec in outputs.items() if _is_text(spec) and name != FINISH)


def vector_output(pipeline: Pipeline) -> str | None:
    """The output that holds one vector for each row: by its name, or the only one of floats."""
    outputs = pipeline.outputs
    named = next((name for name in VECTORS if name in outputs and _is_vector(outputs[name])), None)
    return named or _only(name for name, spec in outputs.items() if _is_vector(spec) and spec.row_shape is not None)


def generates(pipeline: Pipeline) -> bool:
    """Whether *pipeline* answers completions: its model generates, and text comes out."""
    return isinstance(pipeline.model, GenerativeModel) and text_output(pipeline) is not None


def embeds(pipeline: Pipeline) -> bool:
    """Whether *pipeline* answers embeddings: text or tokens go in, and a vector comes out."""
    taken = text_input(pipeline) or tokens_input(pipeline)
    return taken is not None and vector_output(pipeline) is not None


def required_vectors(pipeline: Pipeline) -> str:
    """The output that holds the embedding. Raises InvalidRequest, which tells what the pipeline gives."""
    if (name := vector_output(pipeline)) is not None:
        return name
    raise refused(
        "model",
        f"pipeline {pipeline.ref} gives no embedding: one output of floats with one vector for each row is wanted, "
        f"named {' or '.join(VECTORS)} where there are several; it gives {_told(pipeline.outputs)}",
    )


def required_text(pipeline: Pipeline) -> str:
    """The output that holds generated text. Raises InvalidRequest for a pipeline that does not generate."""
    if not isinstance(pipeline.model, GenerativeModel):
        raise refused("model", f"pipeline {pipeline.ref} does not generate; /v1/models lists what there is")
    if (name := text_output(pipeline)) is not None:
        return name
    raise refused(
        "model", f"pipeline {pipeline.ref} gives no output `text` of strings; it gives {_told(pipeline.outputs)}"
    )


def prompt_rows(pipeline: Pipeline, prompts: Prompts, param: str) -> list[dict[str, Any]]:
    """Each prompt under the name of the input that takes it. Raises InvalidRequest."""
    return [
        _text_row(pipeline, prompt, param) if isinstance(prompt, str) else _token_row(pipeline, prompt, param)
        for prompt in prompts
    ]


def _text_row(pipeline: Pipeline, text: str, param: str) -> dict[str, Any]:
    if (name := text_input(pipeline)) is not None:
        return {name: text}
    if MESSAGES in pipeline.inputs:
        return {MESSAGES: [{"role": "user", "content": text}]}
    raise no_text(pipeline, param)


def no_text(pipeline: Pipeline, param: str) -> InvalidRequest:
    """The refusal of text for a pipeline that takes none."""
    hint = "send lists of tokens, or put `tokenize` first in its preprocessing. " if tokens_input(pipeline) else ""
    return refused(param, f"{param}: pipeline {pipeline.ref} takes no text; {hint}{_takes(pipeline)}")


def _token_row(pipeline: Pipeline, tokens: list[int], param: str) -> dict[str, Any]:
    if tokens_input(pipeline) is None:
        raise refused(
            param, f"{param}: pipeline {pipeline.ref} takes no tokens ({TOKENS_INPUT}); send texts. {_takes(pipeline)}"
        )
    row: dict[str, Any] = {TOKENS_INPUT: tokens}
    for name, value in ((MASK, 1), ("token_type_ids", 0)):
        if name in pipeline.inputs:
            row[name] = [value] * len(tokens)
    return row


def words_in(prompts: Prompts) -> int:
    """How long prompts are where the pipeline does not tell: their tokens, or else the words of their texts."""
    return sum(len(prompt.split()) if isinstance(prompt, str) else len(prompt) for prompt in prompts)


def _takes(pipeline: Pipeline) -> str:
    return f"It takes {_told(pipeline.inputs)}"


def _told(columns: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name} ({spec})" for name, spec in columns.items()) or "nothing"


def _is_text(spec: TensorSpec, *also: str) -> bool:
    return spec.dtype in ("string", *also) and spec.row_shape in ((), None)


def _is_number(spec: TensorSpec) -> bool:
    return spec.dtype in ("number", "integer", *GROUPS["integer"])


def _is_vector(spec: TensorSpec) -> bool:
    floating = spec.dtype in ("number", "float", *GROUPS["float"])
    return floating and (spec.row_shape is None or len(spec.row_shape) == 1)


def _only(names: Iterable[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None
