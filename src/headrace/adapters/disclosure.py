"""What of a failure may its caller read? No path of the machine, no trace and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from headrace.core.masking import mask_text, masked
from headrace.domain.errors import EngineError, Internal

# Codes whose messages may quote what foreign code raised.
_QUOTING: Final = frozenset({"model_failure", "dependency_failure", "invalid_config", "not_found", "not_ready"})
_PATH: Final = re.compile(r"(?<![\w:/.])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[^\s'\"]+")
LONGEST: Final = 4000
"""Letters of a message or of a text in its details that are shown."""
_PATH_TEXT: Final = "[path]"
_TRACE: Final = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)


def meaning_of(error: BaseException) -> EngineError:
    """*error* itself if it has a meaning for callers; else a fault of ours, of which they learn no more."""
    if isinstance(error, EngineError):
        return error
    return Internal("something went wrong here; the log has it under this request's id")


def public_message(error: EngineError) -> str:
    """The message of *error* as callers may read it."""
    return _public(error.message, error.code)


def public_text(message: str, code: str) -> str:
    """*message* of a failure *code* that is at hand as text alone."""
    return _public(message, code)


def public_details(error: EngineError) -> Any:
    """The details of *error* as callers may read them; None without any."""
    return _public_details(masked(error.details), error.code) if error.details else None


def _public(message: str, code: str) -> str:
    if len(message) > LONGEST:  # a caller's own text is quoted, and may be as long as a body
        message = f"{message[:LONGEST]}..."
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
