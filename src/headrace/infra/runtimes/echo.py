"""What does a model answer that needs no weights? Its inputs, or numbers that depend on them alone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, cast

import numpy as np

from headrace.domain.errors import DeadlineExceeded, EngineError, InvalidConfig, InvalidInput
from headrace.domain.model import ModelAdapter
from headrace.domain.parameters import check, signature
from headrace.domain.tensors import Array, Column, TensorSpec
from headrace.infra.runtimes.columns import declared, model_name

UNLIMITED: Final = 0
"""The `max_tokens` that stands for no limit."""

_WORD = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


class EchoModel(ModelAdapter):
    """A stand-in for demonstrations, tests and load: deterministic, and the same for a row in any batch.

    An output that has the name and dtype of an input returns it. Any other output holds values made of a digest of
    the row: floats in [0, 1) with three digits, integers from 0 to 99, booleans, hexadecimal strings; a free axis
    gets the size 1.
    Without specs: ``text`` in, ``text`` out, of which the optional ``max_tokens`` keeps the first words (0: all).

    It also generates: word by word of the input ``text``. Options: ``delay_s`` (seconds before each answer or
    chunk), ``fail_on`` (a text that contains this makes the whole batch raise).
    """

    concurrent = True
    pure = True

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Read the specs and options of *config*; there is no artefact."""
        try:
            self._read(config)
        except EngineError as error:
            raise type(error)(f"{model_name(config)}: {error.message}") from error

    def _read(self, config: Mapping[str, Any]) -> None:
        inputs = declared(config, "input_spec")
        if inputs is None:
            limit = TensorSpec("int64", (-1,), "max_tokens", UNLIMITED, True)
            inputs = {"text": TensorSpec("string", (-1,), "text"), "max_tokens": limit}
        echoed = {name: spec for name, spec in inputs.items() if name != "max_tokens"}
        self._inputs = inputs
        self._outputs = declared(config, "output_spec") or echoed
        self._batched = bool(config.get("batched", True))
        values, problems = check(signature(_options), config.get("options") or {})
        if problems:
            raise InvalidConfig("options: " + "; ".join(problem.message for problem in problems))
        self._delay_s, self._fail_on = _options(**values)

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Return the inputs, or values made of them."""
        if self._delay_s:
            time.sleep(self._delay_s)
        self._refuse(inputs.get("text", ()))
        return {name: self._output(name, spec, inputs) for name, spec in self._outputs.items()}

    async def generate(
        self, inputs: Mapping[str, Column], deadline: float | None
    ) -> AsyncIterator[Mapping[str, Column]]:
        """Yield the words of the one row of ``text``, with the space around them, as ``text``."""
        if "text" not in inputs:
            raise InvalidInput("the echo model generates from the input 'text', which is not there")
        self._refuse(inputs["text"])
        limit = int(inputs["max_tokens"][0]) if "max_tokens" in inputs else UNLIMITED
        for word in _words(str(inputs["text"][0]), limit):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded("the deadline passed while the answer was generated")
            yield {"text": [word]}

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The stated inputs, or ``text`` and ``max_tokens``."""
        return self._inputs

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The stated outputs, or the inputs."""
        return self._outputs

    def describe(self) -> Mapping[str, Any]:
        """That this is no real model."""
        return {"platform": "echo"}

    def _refuse(self, texts: Sequence[Any] | Array) -> None:
        if self._fail_on is not None and any(self._fail_on in str(text) for text in texts):
            raise RuntimeError(f"asked to fail on {self._fail_on!r}")

    def _output(self, name: str, spec: TensorSpec, inputs: Mapping[str, Column]) -> Column:
        given = self._inputs.get(name)
        if given is not None and spec.dtype in (given.dtype, "any"):
            return _shortened(inputs[name], inputs)
        if not self._batched:
            return cast(Column, _made(spec, spec.shape, inputs))
        rows = len(next(iter(inputs.values())))
        made = [
            _made(spec, spec.row_shape, {key: column[row] for key, column in inputs.items()}) for row in range(rows)
        ]
        return np.stack(made) if spec.numeric else made


def _options(*, delay_s: float = 0.0, fail_on: str | None = None) -> tuple[float, str | None]:
    return delay_s, fail_on


def _shortened(column: Column, inputs: Mapping[str, Column]) -> Column:
    limits = inputs.get("max_tokens")
    if limits is None or not isinstance(column, list):
        return column
    return ["".join(_words(text, int(limit))) for text, limit in zip(column, limits, strict=True)]


def _words(text: str, limit: int) -> list[str]:
    """The words of *text* with the space around them, so that all of them joined are the text."""
    words = _WORD.findall(text)
    return words if limit == UNLIMITED else words[: max(limit, 0)]


def _made(spec: TensorSpec, shape: Sequence[int] | None, values: Mapping[str, Any]) -> Any:
    digest = blake2b(digest_size=16)
    for name in sorted(values):
        digest.update(name.encode() + b"\0" + _canonical(values[name]) + b"\0")
    sizes = [1 if size < 0 else size for size in shape or ()]
    random = np.random.default_rng(int.from_bytes(digest.digest()))
    if spec.dtype in ("string", "any"):
        return digest.hexdigest()
    if spec.dtype == "bytes":
        return digest.digest()
    if spec.dtype == "image":
        return random.integers(0, 256, sizes, np.uint8)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return (random.integers(0, 1000, sizes) / 1000).astype(dtype)
    return random.integers(0, 2 if dtype.kind == "b" else 100, sizes).astype(dtype)


def _canonical(value: Any) -> bytes:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return f"{value.dtype.str}{value.shape}".encode() + value.tobytes()
    return repr(value).encode()
