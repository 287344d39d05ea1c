"""How is a plain function called with columns, and what does it have to return?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from headrace.domain.errors import InvalidConfig, ModelFailure
from headrace.domain.model import ModelAdapter, RemoteModel
from headrace.domain.parameters import nearest
from headrace.domain.tensors import Column, TensorSpec

Function = Callable[..., Any]
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its options bound. *whole* takes one mapping; otherwise the columns are keyword arguments.

    *inferred* are the inputs that its parameters name, of any type; None where they name nothing.
    """

    function: Function
    whole: bool
    inferred: Mapping[str, TensorSpec] | None = None

    def __call__(self, inputs: Mapping[str, Column]) -> Any:
        return self.function(inputs) if self.whole else self.function(**inputs)


def bind(function: Function, inputs: Mapping[str, TensorSpec] | None, options: Mapping[str, Any], name: str) -> Call:
    """How *function* is called with the columns *inputs*; raises InvalidConfig when it cannot be."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"the parameters of {name!r} cannot be read; wrap it in a function: {error}") from error
    columns = [parameter for parameter in parameters.values() if parameter.kind in POSITIONAL]
    extra = [parameter.name for parameter in parameters.values() if parameter.kind is parameter.KEYWORD_ONLY]
    bound = _with_options(function, options, [key for key in extra if key not in (inputs or ())], name)
    if _takes_mapping(columns, inputs):
        return Call(bound, whole=True)
    if inputs is not None:
        _check_columns(parameters, inputs, name)
        return Call(bound, whole=False)
    return Call(bound, whole=False, inferred={column.name: _any_column(column) for column in columns})


def _takes_mapping(columns: list[inspect.Parameter], inputs: Mapping[str, TensorSpec] | None) -> bool:
    """One parameter that is annotated as a mapping, is called ``inputs``, or is no column's name."""
    if len(columns) != 1:
        return False
    (column,) = columns
    if inputs is not None:
        return column.name not in inputs
    return column.name == "inputs" or any(word in str(column.annotation) for word in ("Mapping", "dict", "Dict"))


def _with_options(function: Function, options: Mapping[str, Any], accepted: list[str], name: str) -> Function:
    for option in options:
        if option not in accepted:
            allowed = f"; allowed: {', '.join(accepted)}" if accepted else "; it has no keyword-only parameters"
            raise InvalidConfig(f"options: {name!r} takes no {option!r}{nearest(option, accepted)}{allowed}")
    return partial(function, **options) if options else function


def _check_columns(parameters: Mapping[str, inspect.Parameter], inputs: Mapping[str, TensorSpec], name: str) -> None:
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [column for column in inputs if column not in parameters]
    if unknown:
        takes = ", ".join(parameters) or "nothing"
        found = f"{nearest(unknown[0], list(parameters))}; it takes: {takes}"
        raise InvalidConfig(f"input_spec names {unknown[0]!r}, which {name!r} does not take{found}")
    for parameter in parameters.values():
        needed = parameter.kind in POSITIONAL and parameter.default is parameter.empty
        if needed and parameter.name not in inputs:
            raise InvalidConfig(f"{name!r} wants {parameter.name!r}, which input_spec does not name")


def _any_column(parameter: inspect.Parameter) -> TensorSpec:
    default = None if parameter.default is parameter.empty else parameter.default
    return TensorSpec("any", None, parameter.name, default, default is not None)


class _Called:
    """What the two models of this file share: the specs, and the reading of what the function returned."""

    def __init__(
        self, owner: object, call: Call, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]
    ) -> None:
        self._owner = owner
        self._call = call
        self._inputs = inputs
        self._outputs = outputs
        for flag in ("concurrent", "pure"):
            if hasattr(owner, flag):
                setattr(self, flag, bool(getattr(owner, flag)))

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        return self._inputs

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return self._outputs

    def close(self) -> None:
        if callable(close := getattr(self._owner, "close", None)):
            close()

    def describe(self) -> Mapping[str, Any]:
        own = getattr(self._owner, "describe", None)
        return {"platform": "python", **(own() if callable(own) else {})}

    def _answer(self, returned: Any) -> Mapping[str, Column]:
        if isinstance(returned, Mapping):
            return returned
        if isinstance(returned, (np.ndarray, list)) and len(self._outputs) == 1:
            return {next(iter(self._outputs)): returned}
        wanted = "a mapping of columns" if len(self._outputs) != 1 else "a mapping of columns, an array or a list"
        raise ModelFailure(f"the model returned a {type(returned).__name__}; it wants to return {wanted}")


class LocalCall(_Called, ModelAdapter):
    """A function as a model."""

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Nothing is left to do: it was made of a loaded object."""

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Call the function."""
        return self._answer(self._call(inputs))


class AwaitedCall(_Called, RemoteModel):
    """A coroutine function as a model; it gets no deadline, but is cancelled when nobody waits any more."""

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Nothing is left to do: it was made of a loaded object."""

    async def predict(self, inputs: Mapping[str, Column], deadline: float | None) -> Mapping[str, Column]:
        """Await the function."""
        return self._answer(await self._call(inputs))
