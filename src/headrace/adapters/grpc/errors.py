"""What does a failure look like over gRPC? The one table of status codes, and the metadata that goes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from headrace.adapters.disclosure import public_message
from headrace.domain.errors import EngineError

STATUS: Final[Mapping[str, StatusCode]] = {
    "invalid_request": StatusCode.INVALID_ARGUMENT,
    "unauthenticated": StatusCode.UNAUTHENTICATED,
    "denied": StatusCode.PERMISSION_DENIED,
    "not_found": StatusCode.NOT_FOUND,
    "ambiguous_version": StatusCode.FAILED_PRECONDITION,
    "conflict": StatusCode.FAILED_PRECONDITION,
    "too_large": StatusCode.RESOURCE_EXHAUSTED,
    "unsupported_media": StatusCode.INVALID_ARGUMENT,
    "invalid_input": StatusCode.INVALID_ARGUMENT,
    "invalid_config": StatusCode.FAILED_PRECONDITION,
    "quota_exceeded": StatusCode.RESOURCE_EXHAUSTED,
    "model_failure": StatusCode.INTERNAL,
    "internal": StatusCode.INTERNAL,
    "dependency_failure": StatusCode.UNAVAILABLE,
    "overloaded": StatusCode.UNAVAILABLE,
    "not_ready": StatusCode.UNAVAILABLE,
    "deadline_exceeded": StatusCode.DEADLINE_EXCEEDED,
}

CODE_KEY: Final = "headrace-code"
"""The metadata key of our own code, which says more than gRPC's sixteen."""
ID_KEY: Final = "x-request-id"
WAIT_KEY: Final = "grpc-retry-pushback-ms"
"""How long to wait before the next attempt, in the key that gRPC's own retries read."""
LONGEST: Final = 1500
"""Characters of a message: it travels among the trailers, percent-encoded, and clients refuse trailers above 8 KiB."""


def text_of(error: EngineError) -> str:
    """What a caller reads."""
    text = public_message(error)
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def trailers_of(error: EngineError, request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata that follow *error*: its code, the request's id, and when to come back."""
    found = ((CODE_KEY, error.code), (ID_KEY, request_id))
    if (wait_s := getattr(error, "retry_after_s", None)) is None:
        return found
    return (*found, (WAIT_KEY, str(max(1, round(wait_s * 1e3)))))
