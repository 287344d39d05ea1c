"""What does a model answer that needs no weights? Its inputs, or numbers that depend on them alone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from headrace.domain.errors import DeadlineExceeded, EngineError, InvalidConfig, InvalidInput
from headrace.domain.model import ModelAdapter
from headrace.domain.parameters import check, signature
from headrace.domain.tensors import TEXT, Array, Column, TensorSpec
from headrace.infra.runtimes.columns import declared, model_name

UNLIMITED: Final = 0
"""The `max_tokens` that stands for no limit."""

_WORD = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


class EchoModel(ModelAdapter):
    """A stand-in for demonstrations, tests and load: deterministic, and the same for a row in any batch.

    An output that has the name and dtype of an input returns it. Any other output holds values made of a digest of
    the row: floats in [0, 1), integers from 0 to 99, booleans, hexadecimal strings; a free axis gets the size 1.
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
        for word in _words(inputs["text"][0], _limits(inputs, 1)[0]):
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
            column = inputs[name]
            return _cut(column, _limits(inputs, len(column))) if name == TEXT_COLUMN and self._batched else column
        if self._batched:
            rows = len(next(iter(inputs.values())))
            made = [_made(spec, spec.row_shape, {key: column[row] for key, column in inputs.items()})
                    for row in range(rows)]  # fmt: skip
            return np.stack(made) if spec.numeric else made
        return _made(spec, spec.shape, inputs)


TEXT_COLUMN: Final = "text"


def _options(*, delay_s: float = 0.0, fail_on: str | None = None) -> tuple[float, str | None]:
    return delay_s, fail_on
