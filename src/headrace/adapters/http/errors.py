"""What does a failure look like over HTTP? The one table of status numbers, and the body that goes with them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.core.masking import mask_text, masked
from headrace.domain.errors import BreakerOpen, EngineError, Internal, InvalidRequest

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

# Codes whose messages may quote what foreign code raised.
_QUOTING: Final = frozenset({"model_failure", "dependency_failure", "invalid_config", "not_found", "not_ready"})
_PATH: Final = re.compile(r"(?<![\w:/.])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[^\s'\"]+")
_PATH_TEXT: Final = "[path]"
_TRACE: Final = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)


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
    told: dict[str, Any] = {"code": error.code, "message": _public(error.message, error.code)}
    if error.details:
        told["details"] = _public_details(masked(error.details), error.code)
    return told


def meaning_of(error: BaseException) -> EngineError:
    """*error* itself if it has a meaning for callers; else a fault of ours, of which they learn no more."""
    if isinstance(error, EngineError):
        return error
    return Internal("something went wrong here; the log has it under this request's id")


def failure(error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed native call."""
    return {"success": False, "error": {**shown(error), "request_id": request_id}}


def failure_at(path: str, error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed call in the form that its path's protocol has."""
    if path == "/v2" or path.startswith("/v2/"):
        return open_inference_failure(error, request_id)
    return failure(error, request_id)


def open_inference_failure(error: EngineError, request_id: str) -> dict[str, Any]:
    """The body of a failed V2 call: ``error`` is a text, as the protocol says, and our code stands beside it."""
    return {"error": _public(error.message, error.code), "code": error.code, "request_id": request_id}


def _public(message: str, code: str) -> str:
    message = mask_text(message)
    if code not in _QUOTING:
        return message
    return _PATH.sub(_PATH_TEXT, _TRACE.sub("", message))


def _public_details(value: Any, code: str) -> Any:
    if isinstance(value, str):
        return _public(value, code)
    if isinstance(value, Mapping):
        return {str(key): _public_details(item, code) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public_details(item, code) for item in value]
    return value
