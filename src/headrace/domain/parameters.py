"""Whether plain values fit the type hints of keyword-only parameters: how a step's ``params`` are checked."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

REQUIRED: Any = inspect.Parameter.empty


class Misfit(ValueError):
    """A value does not fit its hint; the text says what is wanted and what was found."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A keyword-only parameter: its hint and its default (`REQUIRED` if there is none)."""

    name: str
    hint: Any
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold; *key* is the parameter or column it is about."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function may be given: *columns* are its positional parameters, *rest* the hint of ``**names``."""

    columns: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    rest: Any = None
    takes_context: bool = False


def signature(function: Callable[..., Any]) -> Signature:
    """Read the parameters of *function*; a positional ``context`` asks for the Context and is no column."""
    hints = typing.get_type_hints(function)
    columns: list[str] = []
    parameters: dict[str, Parameter] = {}
    rest = None
    takes_context = False
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is parameter.KEYWORD_ONLY:
            parameters[name] = Parameter(name, hint, parameter.default)
        elif parameter.kind is parameter.VAR_KEYWORD:
            rest = hint
        elif name == "context":
            takes_context = True
        else:
            columns.append(name)
    return Signature(tuple(columns), parameters, rest, takes_context)


def check(accepted: Signature, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The values to call with, and everything that is wrong: unknown, missing and ill-typed parameters."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    meant: list[str] = []
    for key, value in given.items():
        hint = accepted.parameters[key].hint if key in accepted.parameters else accepted.rest
        if hint is None:
            problems.append(Problem(key, _unknown(key, accepted)))
            meant += difflib.get_close_matches(str(key), list(accepted.parameters), n=1)
            continue
        try:
            values[key] = fit(value, hint)
        except Misfit as misfit:
            problems.append(Problem(key, f"parameter {key!r} {misfit}"))
    for name, parameter in accepted.parameters.items():
        if parameter.default is REQUIRED and name not in given and name not in meant:  # one slip is one mistake
            problems.append(Problem(name, f"parameter {name!r} is missing; it wants {shown(parameter.hint)}"))
    return values, problems


def nearest(word: str, words: Sequence[str]) -> str:
    """``; did you mean 'x'?`` for the closest of *words*, or nothing."""
    if len(word := str(word)) > 200:  # nobody's slip of the keyboard, and comparing takes the longer the longer it is
        return ""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _unknown(key: str, accepted: Signature) -> str:
    names = list(accepted.parameters)
    allowed = f"; allowed: {', '.join(names)}" if names else "; the step takes none"
    return f"no parameter {key!r}{nearest(key, names)}{allowed}"


def fit(value: Any, hint: Any) -> Any:
    """*value* as *hint* wants it (lists become tuples, integers floats). Raises Misfit."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _fit_union(value, hint)
    if origin is Literal:
        if any(value == allowed and type(value) is type(allowed) for allowed in get_args(hint)):
            return value
        raise Misfit(f"wants {shown(hint)}, not {value!r}{nearest(str(value), [str(a) for a in get_args(hint)])}")
    if origin is not None:
        return _fit_container(value, hint, origin)
    return _fit_scalar(value, hint)


def _fit_union(value: Any, hint: Any) -> Any:
    if value is None and type(None) in get_args(hint):
        return None
    options = [option for option in get_args(hint) if option is not type(None)]
    for option in options:
        try:
            return fit(value, option)
        except Misfit as misfit:
            last = misfit
    if len(options) == 1:
        raise last
    raise Misfit(f"wants {shown(hint)}, not {value!r}")


def _fit_container(value: Any, hint: Any, origin: Any) -> Any:
    arguments = get_args(hint)
    if origin is tuple:
        return _fit_tuple(value, hint, arguments)
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise Misfit(f"wants {shown(hint)}, not {value!r}")
        return {fit(key, arguments[0]): fit(item, arguments[1]) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        raise Misfit(f"wants {shown(hint)}, not {value!r}")
    return [fit(item, arguments[0]) for item in value]


def _fit_tuple(value: Any, hint: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise Misfit(f"wants {shown(hint)}, not {value!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(fit(item, arguments[0]) for item in value)
    if len(value) != len(arguments):
        raise Misfit(f"wants {shown(hint)}, not {len(value)} values: {value!r}")
    return tuple(fit(item, argument) for item, argument in zip(value, arguments, strict=True))


def _fit_scalar(value: Any, hint: Any) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        raise Misfit(f"wants {shown(hint)}, not {str(value).lower()}")
    if isinstance(hint, type) and not isinstance(value, hint):
        raise Misfit(f"wants {shown(hint)}, not {value!r}")
    return value


def shown(hint: Any) -> str:
    """A hint in the words of somebody who writes YAML."""
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): "null"}
    if hint in words:
        return words[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(shown(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(argument) for argument in arguments)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return f"a list of {len(arguments)} values ({', '.join(shown(argument) for argument in arguments)})"
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping"
    if origin is not None:
        return f"a list ({shown(arguments[0])} each)" if arguments else "a list"
    return getattr(hint, "__name__", str(hint))
