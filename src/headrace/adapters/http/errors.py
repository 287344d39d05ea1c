"""What does a failure look like over HTTP? The one table of status numbers, and the body that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.adapters.disclosure import public_details, public_message
from headrace.domain.errors import BreakerOpen, EngineError, InvalidRequest

STATUS: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "unauthenticated": 401,
    "denied": 403,
    "not_found": 404,
    "ambiguous_version": 409,
    "conflict": 409,
    "too_large": 413,
    "unsupported_media": 415,
    "invalid_input": 422,
    "invalid_config": 422,
    "quota_exceeded": 429,
    "model_failure": 500,
    "internal": 500,
    "dependency_failure": 502,
    "overloaded": 503,
    "not_ready": 503,
    "deadline_exceeded": 504,
}


class WrongMethod(InvalidRequest):
    """The path is right and the method is not; *allowed* ones are named in the answer."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"this path does not answer {method[:20]}; it answers {', '.join(allowed)}")
        self.allowed = allowed


_SPECIAL: Final[Mapping[type[EngineError], int]] = {BreakerOpen: 503, WrongMethod: 405}


def status_of(error: EngineError) -> int:
    """The status number of *error*."""
    return next((number for kind, number in _SPECIAL.items() if isinstance(error, kind)), STATUS[error.code])


def headers_of(error: EngineError) -> list[tuple[bytes, bytes]]:
    """The headers that belong to *error*: when to come back, and how to say who one is."""
    if (wait_s := getattr(error, "retry_after_s", None)) is not None:
        return [(b"retry-after", str(max(1, math.ceil(wait_s))).encode())]
    if error.code == "unauthenticated":
        return [(b"www-authenticate", b"Bearer")]
    if isinstance(error, WrongMethod):
        return [(b"allow", ", ".join(error.allowed).encode("ascii"))]
    return []


def shown(error: EngineError) -> dict[str, Any]:
    """*error* as the object that stands under ``error``, without paths of the machine, traces and secrets."""
    told: dict[str, Any] = {"code": error.code, "message": public_message(error)}
    if (details := public_details(error)) is not None:
        told["details"] = details
    return told


def failure(error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed native call."""
    return {"success": False, "error": {**shown(error), "request_id": request_id}}


def failure_at(path: str, error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed call in the form that its path's protocol has."""
    if path == "/v2" or path.startswith("/v2/"):
        return open_inference_failure(error, request_id)
    return openai_failure(error) if _is_openai(path) else failure(error, request_id)


def headers_at(path: str, error: EngineError) -> list[tuple[bytes, bytes]]:
    """The headers that belong to *error* at *path*: OpenAI's clients repeat any 409 and 5xx unless told better."""
    if not _is_openai(path):
        return headers_of(error)
    return [*headers_of(error), (b"x-should-retry", b"true" if error.retryable else b"false")]


def _is_openai(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")


def open_inference_failure(error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed V2 call: ``error`` is a text, as the protocol says, and our code stands beside it."""
    return {"error": public_message(error), "code": error.code, "request_id": request_id}


_OPENAI_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_failure(error: EngineError) -> dict[str, Any]:
    """The body of a failed call under ``/v1``: ``param`` is the parameter or the column that is wrong."""
    status, details = status_of(error), error.details or {}
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = details.get("param", details.get("column"))
    message = public_message(error)
    return {"error": {"message": message, "type": kind, "param": param, "code": error.code}}
