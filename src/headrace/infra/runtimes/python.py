"""How does an object of the user's own code become a model? Adapters, classes, functions and coroutines."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from headrace.domain.errors import EngineError, Internal, InvalidConfig
from headrace.domain.model import Model, ModelAdapter, RemoteModel
from headrace.domain.parameters import nearest
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.runtimes.callables import AwaitedCall, LocalCall, bind
from headrace.infra.runtimes.columns import declared, model_name
from headrace.infra.runtimes.workspace_code import load_object


class PythonModel(ModelAdapter):
    """A model written in Python, named by ``path: package.module:object`` or ``path: models/file.py:object``.

    The object may be

    - a ModelAdapter or RemoteModel, class or instance;
    - a class or instance with a `predict` of the forms below (its `load`, `get_input_spec`, `get_output_spec`,
      `close` and `describe` are used where they exist, as are the flags `concurrent` and `pure`);
    - a function of columns: ``def f(x, y)``, or of one mapping: ``def f(inputs)``, that returns a mapping of
      columns, or the one column when there is only one output; a coroutine function is awaited on the loop;
    - a function without positional parameters: a factory of any of these.

    ``options`` are the keyword arguments of a class or factory, or the keyword-only ones of a function. A `load`
    gets the workspace's root, where paths start, and the whole configuration. Columns come from ``input_spec`` and
    ``output_spec``, from the object, or, for inputs alone, from the function's parameters (of any type).

    `wrapped` is the model itself; a pipeline runs that one, since only it can be awaited.
    """

    def __init__(self) -> None:
        self._wrapped: Model | None = None

    @property
    def wrapped(self) -> Model:
        """The model that the object became; valid after `load`."""
        if self._wrapped is None:
            raise Internal("the model is not loaded")
        return self._wrapped

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Read the code and make the object. *config* holds ``path``, ``root`` (the workspace) and ``options``."""
        reference = str(config.get("path") or model_path)
        root = Path(str(config["root"])) if config.get("root") else None
        try:
            found = load_object(reference, root)
            self._wrapped = _as_model(found, str(root or Path.cwd()), config, reference.rpartition(":")[2])
        except EngineError as error:
            raise type(error)(f"{model_name(config)} ({reference}): {error.message}") from error
        except Exception as error:  # a user's constructor or `load`
            said = f"{model_name(config)} ({reference}) cannot be loaded: {type(error).__name__}: {str(error)[:500]}"
            raise InvalidConfig(said) from error

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Run one batch. A coroutine cannot be run from here: `load_model` gives the model that is awaited."""
        if isinstance(self.wrapped, RemoteModel):
            raise Internal("a coroutine model is awaited: run what `wrapped` holds")
        return self.wrapped.predict(inputs)

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that the object wants."""
        return self.wrapped.get_input_spec()

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that it returns."""
        return self.wrapped.get_output_spec()

    def close(self) -> None:
        """Close the object."""
        if self._wrapped is not None:
            self._wrapped.close()

    def describe(self) -> Mapping[str, Any]:
        """What the object says about itself."""
        return self.wrapped.describe()


def _as_model(found: object, root: str, config: Mapping[str, Any], name: str) -> Model:
    """*found* made into a loaded model; factories and classes are called until something that predicts is there."""
    options = dict(config.get("options") or {})
    if isinstance(found, type) or _is_factory(found):
        found = _called(found, options, name)
        options = {}
        if _is_factory(found):
            raise InvalidConfig(f"{name!r} returns another factory; it wants to return a model")
    if isinstance(found, (ModelAdapter, RemoteModel)):
        _refuse_options(options, name)
        found.load(root, config)
        _check_specs(found, name)
        return found
    predict = getattr(found, "predict", None) or found
    if not callable(predict):
        raise InvalidConfig(f"{name!r} is a {type(found).__name__}; a model is a function, or has a predict()")
    if predict is not found:
        _refuse_options(options, name)
        if callable(load := getattr(found, "load", None)):
            load(root, config)
    return _call_model(found, predict, options, config, name)


def _check_specs(model: Model, name: str) -> None:
    for method in ("get_input_spec", "get_output_spec"):
        specs: object = getattr(model, method)()
        if not isinstance(specs, Mapping) or not all(isinstance(spec, TensorSpec) for spec in specs.values()):
            raise InvalidConfig(f"{method}() of {name!r} wants to return a mapping of names to TensorSpec")


def _is_factory(found: object) -> bool:
    if not inspect.isfunction(found):
        return False
    kinds = [parameter.kind for parameter in inspect.signature(found).parameters.values()]
    return all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds)


def _called(factory: Any, options: Mapping[str, Any], name: str) -> object:
    if inspect.isabstract(factory):
        missing = ", ".join(sorted(factory.__abstractmethods__))
        raise InvalidConfig(f"class {name!r} lacks {missing}")
    accepted = inspect.signature(factory)
    names = list(accepted.parameters)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.parameters.values())
    for option in options:
        if option not in names and not open_ended:
            allowed = f"; allowed: {', '.join(names)}" if names else "; it takes none"
            raise InvalidConfig(f"options: {name!r} takes no {option!r}{nearest(option, names)}{allowed}")
    try:
        accepted.bind(**options)
    except TypeError as error:
        raise InvalidConfig(f"options: {name!r}: {error}") from error
    return cast(object, factory(**options))


def _refuse_options(options: Mapping[str, Any], name: str) -> None:
    if options:
        raise InvalidConfig(f"options: {name!r} is an object already and takes none; name its class instead")


def _call_model(found: object, predict: Any, options: Mapping[str, Any], config: Mapping[str, Any], name: str) -> Model:
    own_inputs, own_outputs = (_own_spec(found, f"get_{side}_spec") for side in ("input", "output"))
    inputs = declared(config, "input_spec") or own_inputs
    outputs = declared(config, "output_spec") or own_outputs
    call = bind(predict, inputs, options, name)
    taken = inputs if inputs is not None else call.inferred
    if taken is None or outputs is None:
        lacking = "output_spec" if taken is not None else "input_spec"
        side = lacking.removesuffix("_spec")
        raise InvalidConfig(f"nothing says which {side}s {name!r} has: state {lacking}, or define get_{lacking}()")
    kind = AwaitedCall if inspect.iscoroutinefunction(predict) else LocalCall
    return kind(found, call, taken, outputs)


def _own_spec(found: object, method: str) -> dict[str, TensorSpec] | None:
    """What the object's own method says: TensorSpecs, or ``{name: {dtype, shape}}``."""
    if not callable(ask := getattr(found, method, None)):
        return None
    specs: dict[str, TensorSpec] = {}
    for name, spec in cast(Mapping[str, Any], ask()).items():
        entry = spec if isinstance(spec, TensorSpec) else declared({method: [{"name": name, **spec}]}, method)
        specs[name] = entry if isinstance(entry, TensorSpec) else cast(dict[str, TensorSpec], entry)[name]
    return specs
