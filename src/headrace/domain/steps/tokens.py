"""Steps between text and the tokens of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from headrace.domain.errors import InvalidInput, ModelFailure
from headrace.domain.step import Place, Specs, as_column, step
from headrace.domain.steps.number_columns import each, numbers
from headrace.domain.steps.token_codecs import Length, Padding, Wanted, check_texts, codec
from headrace.domain.tensors import ANYTHING, NUMBER, TEXT, Array, Column, TensorSpec

Output = Literal["input_ids", "attention_mask", "token_type_ids"]
ALL: tuple[Output, ...] = ("input_ids", "attention_mask", "token_type_ids")


def _texts(*, pair: str | None = None, **_: Any) -> Specs:
    return {"text": TEXT} if pair is None else {"text": TEXT, pair: TEXT}


def _outputs(*, outputs: tuple[Output, ...] = ALL, **_: Any) -> Specs:
    return dict.fromkeys(outputs, ANYTHING)


def _wanted(
    *,
    tokenizer: str | None = None,
    max_length: int | None = None,
    padding: Padding | None = None,
    truncation: bool = True,
    pair: str | None = None,
    special_tokens: bool = True,
    pad_token: str | None = None,
    **_: Any,
) -> Wanted:
    """The codec that the parameters ask for; rows are filled to *max_length* where there is one."""
    fill = padding or ("longest" if max_length is None else "max_length")
    length = Length(max_length, fill, truncation)
    return Wanted(tokenizer, length, special_tokens, pad_token, pair is not None)


def _tokenized(reads: Specs, *, outputs: tuple[Output, ...] = ALL, place: Place | None = None, **params: Any) -> Specs:
    wanted = _wanted(**params)
    length = wanted.length
    if length.max_length is not None and length.max_length < 1:
        raise ValueError(f"wants a max_length of at least 1, not {length.max_length}")
    if length.padding == "max_length" and length.max_length is None:
        raise ValueError("wants a max_length, since padding is max_length")
    if "input_ids" not in outputs:
        raise ValueError("wants input_ids among its outputs")
    codec(wanted, place)
    size = length.max_length if length.padding == "max_length" and length.max_length else -1
    return {name: TensorSpec("int64", (-1, size)) for name in outputs}


@step(reads=_texts, writes=_outputs, flow=_tokenized, flexible=True, pure=True)
def tokenize(
    text: list[str],
    second: list[str] | None = None,
    *,
    tokenizer: str | None = None,
    max_length: int | None = None,
    padding: Padding | None = None,
    truncation: bool = True,
    pair: str | None = None,
    special_tokens: bool = True,
    pad_token: str | None = None,
    outputs: tuple[Output, ...] = ALL,
    place: Place | None = None,
) -> dict[str, Column]:
    """Turn text into the numbers of its tokens.

    Reads `text` (string), and with *pair* the column of that name as the second of a pair. Writes `input_ids`,
    `attention_mask` and `token_type_ids`, or those that *outputs* lists (int64, `[tokens]` a row; a model takes those
    that it knows). *tokenizer* is the path of a Hugging Face `tokenizer.json` or its folder, from the workspace root;
    without it the one in the model's folder is used, and where there is none, every byte of the UTF-8 text is a token
    (0 to 255). It is read once, when the pipeline is loaded.

    *padding* fills rows up: to `max_length` (the default where *max_length* is given), to the `longest` of the batch
    (the default elsewhere), or `none`. Longer text is cut to *max_length* unless *truncation* is off. The filling is
    the tokenizer's own padding token or the one that *pad_token* names, and 0 for bytes. *special_tokens* are those
    that the tokenizer puts around a text.

    Errors: `invalid_input` for what is no text, and for too long a text with *truncation* off. A tokenizer that
    cannot be read is an error of the configuration.

    Example:
        in: {text: [Hi, "Oh!"]}
        params: {max_length: 4}
        out: {input_ids: [[72, 105, 0, 0], [79, 104, 33, 0]], attention_mask: [[1, 1, 0, 0], [1, 1, 1, 0]]}
    """
    check_texts(text, "text")
    if second is not None:
        check_texts(second, str(pair))
    wanted = _wanted(
        tokenizer=tokenizer, max_length=max_length, padding=padding, truncation=truncation, pair=pair,
        special_tokens=special_tokens, pad_token=pad_token,
    )  # fmt: skip
    rows = codec(wanted, place).encode(text, second)
    if max_length is not None and (longest := max(len(row.ids) for row in rows)) > max_length:
        raise InvalidInput(f"the text is {longest} tokens long; at most {max_length} are taken")
    given = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types"}
    return {name: as_column(np.array(getattr(row, given[name]), np.int64) for row in rows) for name in outputs}


def _decoded(
    reads: Specs, *, tokenizer: str | None = None, skip_special_tokens: bool = True, place: Place | None = None
) -> Specs:
    codec(Wanted(tokenizer), place)
    return {"text": TEXT}


@step(reads={"logits": NUMBER}, writes=["text"], flow=_decoded, flexible=True, pure=True)
def decode_tokens(
    logits: Column, *, tokenizer: str | None = None, skip_special_tokens: bool = True, place: Place | None = None
) -> list[str]:
    """Turn what a language model returns into text.

    Reads `logits` (`[tokens, vocabulary]` a row, of which the highest on the last axis is the token; integers
    `[tokens]` are tokens themselves) and writes `text` (string). *tokenizer* is found as for `tokenize`; without one
    the tokens are the bytes of UTF-8 text, those that are no UTF-8 become U+FFFD, and token 0 is filling.
    *skip_special_tokens* leaves out filling, beginning and end.

    Errors: `model_failure` for a token below zero.

    Example:
        in: {logits: [[72, 105, 0, 0]]}
        out: {text: [Hi]}
    """
    tokens = each(numbers(logits, "logits"), _best)
    if any((row < 0).any() for row in tokens):
        raise ModelFailure("the model returned a token below zero")
    return codec(Wanted(tokenizer), place).decode(_as_lists(tokens), skip_special=skip_special_tokens)


def _best(array: Array) -> Array:
    """The tokens of each row: integers in a row are tokens, all else holds a score for each one on the last axis."""
    is_scores = array.ndim > 2 or (array.ndim == 2 and array.dtype.kind == "f")
    return array.argmax(axis=-1) if is_scores else array.astype(np.int64)


def _as_lists(tokens: Column) -> Sequence[list[int]]:
    return [np.atleast_1d(row).ravel().tolist() for row in tokens]
