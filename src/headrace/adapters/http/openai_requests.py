"""What does an OpenAI-compatible request ask for? Its known fields by type, and the others for the pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, cast

import msgspec

from headrace.adapters.http.body import decode, read_body, require_json
from headrace.adapters.http.call import Call
from headrace.domain.errors import InvalidRequest
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.routing import Asked
from headrace.services.context import RequestContext

Prompt = str | list[str | int | list[int]]
"""A text, several, the tokens of one, or those of several."""
MAX_PROMPTS: Final = 2048
"""Prompts in one call, as many as OpenAI takes."""
Prompts = Sequence[str | list[int]]
"""Each prompt: its text or its tokens."""


class StreamOptions(msgspec.Struct, gc=False):
    """``stream_options``; what else stands there changes no answer."""

    include_usage: bool | None = None


class EmbeddingRequest(msgspec.Struct, gc=False):
    """The body of ``POST /v1/embeddings``."""

    input: Prompt
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class CompletionRequest(msgspec.Struct, gc=False):
    """The body of ``POST /v1/completions``."""

    prompt: Prompt
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None


class ChatRequest(msgspec.Struct, gc=False):
    """The body of ``POST /v1/chat/completions``."""

    messages: list[dict[str, Any]]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


Request = TypeVar("Request", EmbeddingRequest, CompletionRequest, ChatRequest)

IGNORED: Final = frozenset({
    "frequency_penalty", "metadata", "moderation", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "safety_identifier",
    "seed", "service_tier", "store", "temperature", "top_p", "user", "verbosity",
})  # fmt: skip
"""What clients send by habit: a pipeline without an input of the name answers without it."""

NEUTRAL: Final[Mapping[str, Sequence[Any]]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "web_search_options": (),
}
"""What asks for another kind of answer, and the values that do not: any other needs a pipeline that takes it."""

_OURS: Final = frozenset({"n", "best_of", "echo"})
"""How many choices there are and what stands in them is not a pipeline's to say."""
_BODY: Final = msgspec.json.Decoder(dict[str, Any])
_PLACE: Final = re.compile(r" - at `\$\.?(?P<param>\w*)(?P<inside>[^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<param>\w+)`$")


async def read(call: Call, kind: type[Request], limit: int) -> tuple[Request, dict[str, Any]]:
    """The body of *call* as *kind*, and the whole body. Raises InvalidRequest, which names the parameter."""
    require_json(call)
    body = decode(await read_body(call, limit), _BODY, ())
    known = {name: body[name] for name in kind.__struct_fields__ if name in body}
    try:
        return msgspec.convert(known, kind), body
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None


def refused(param: str, message: str) -> InvalidRequest:
    """The refusal of a request for the value of *param*."""
    return InvalidRequest(message, details={"param": param})


def _explained(message: str) -> InvalidRequest:
    if (missing := _MISSING.search(message)) is not None:
        return refused(missing["param"], f"the request lacks {missing['param']!r}")
    place = _PLACE.search(message)
    if place is None:
        return InvalidRequest(f"the request does not have the form that is wanted: {message}")
    said = message[: place.start()].lower().replace("`", "")
    return refused(place["param"], f"{place['param']}{place['inside']}: {said}")


def asked_for(model: str | None, request: RequestContext, body: Mapping[str, Any]) -> Asked:
    """Which pipeline a ``model`` means: ``name``, ``name@version`` or ``name@alias``; without one, the default."""
    name, _, version = (model or "").partition("@")
    return Asked(name, version or None, request.headers, request.routing_key, body)


def further_inputs(body: Mapping[str, Any], kind: type[msgspec.Struct], pipeline: Pipeline) -> dict[str, Any]:
    """Values for inputs of *pipeline* among those fields of *body* that *kind* does not name.

    Raises InvalidRequest for a parameter that changes what is answered and that the pipeline does not take, and for
    one that nobody knows.
    """
    given: dict[str, Any] = {}
    for name, value in body.items():
        if name in kind.__struct_fields__ or value is None:
            continue
        if name in pipeline.inputs and name not in _OURS:
            given[name] = value
        elif name in NEUTRAL:
            # By type as well: `logprobs: 0` asks for numbers, and 0 equals False.
            if not any(type(value) is type(neutral) and value == neutral for neutral in NEUTRAL[name]):
                raise refused(name, _unsupported(name, value, pipeline))
        elif name not in IGNORED:
            known = [*kind.__struct_fields__, *pipeline.inputs, *NEUTRAL, *IGNORED]
            raise refused(
                name,
                f"unknown parameter {name!r}{nearest(name, known)}; pipeline {pipeline.ref} takes: "
                f"{', '.join(pipeline.inputs)}",
            )
    return given


def _unsupported(name: str, value: Any, pipeline: Pipeline) -> str:
    shown = f"{name}={value!r:.60}"
    if name in ("n", "best_of"):
        return f"{shown} is not served: each prompt gets one choice; leave it out and ask again for another"
    if name in _OURS:
        return f"{shown} is not served; leave it out"
    return f"{shown} cannot be honoured: pipeline {pipeline.ref} takes no input {name!r}; leave it out"


def prompts_of(given: Prompt, param: str) -> Prompts:
    """Each text, or the tokens of each, that stand in a ``prompt`` or ``input``. Raises InvalidRequest."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise refused(param, f"{param}: the list is empty; at least one text is wanted")
    if any(item == [] for item in given):
        raise refused(param, f"{param}: a list of tokens is empty")
    kinds = {type(item) for item in given}
    if kinds == {int}:
        return [cast(list[int], given)]
    if len(kinds) == 1:
        if len(given) > MAX_PROMPTS:
            raise refused(param, f"{param}: one call may bring {MAX_PROMPTS}, and there are {len(given)}")
        return cast(Prompts, given)
    raise refused(param, f"{param}: a list holds texts, tokens, or lists of tokens, and not a mixture")
