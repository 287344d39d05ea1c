"""What can go wrong, by meaning. Each door translates a code into its own numbers, once.

EngineError
├── InvalidRequest        invalid_request       the envelope cannot be understood (not JSON, unknown field)
├── Unauthenticated       unauthenticated       no valid credentials
├── Denied                denied                valid credentials, not allowed
├── NotFound              not_found             no such pipeline, model, version, job ...
├── AmbiguousVersion      ambiguous_version     a bare name, several versions, no route
├── Conflict              conflict              it exists already, or is in another state
├── TooLarge              too_large             more bytes, pixels, rows or seconds than allowed
├── UnsupportedMedia      unsupported_media     a media type that nothing here reads
├── InvalidInput          invalid_input         the envelope is fine, a value in it is not
├── InvalidConfig         invalid_config        a file under config/ does not hold
├── QuotaExceeded         quota_exceeded        a rate limit or a budget is used up          (retryable)
├── ModelFailure          model_failure         the model or a step raised, or broke its word
│   ├── NoNumber          model_failure         what the model gave is NaN
│   └── ProcessDied       model_failure         the model's own process died with its batch, twice
├── Internal              internal              a fault of ours
├── DependencyFailure     dependency_failure    a database, broker or remote model failed    (retryable)
│   └── BreakerOpen       dependency_failure    the same, known without asking               (retryable)
├── Overloaded            overloaded            a queue is full                              (retryable)
├── NotReady              not_ready             still loading, or shutting down              (retryable)
└── DeadlineExceeded      deadline_exceeded     the time that the caller gave is over
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class EngineError(Exception):
    """The root of every failure that a caller may see.

    *message* says what was asked, what was found and what would work; it holds no secret, and no path of the
    machine. *details* are machine-readable additions to it. *alone* is False for the error of a row that failed
    with its neighbours and was not tried without them.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.alone = True


class InvalidRequest(EngineError):
    """The envelope of a request cannot be understood."""

    code = "invalid_request"


class Unauthenticated(EngineError):
    """The request carries no valid credentials."""

    code = "unauthenticated"


class Denied(EngineError):
    """The caller is known and may not do this."""

    code = "denied"


class NotFound(EngineError):
    """Nothing of that name exists here."""

    code = "not_found"


class AmbiguousVersion(EngineError):
    """A bare name stands for several versions and no route says which."""

    code = "ambiguous_version"


class Conflict(EngineError):
    """What was asked for contradicts what is already there."""

    code = "conflict"


class TooLarge(EngineError):
    """The request holds more bytes, pixels, rows or seconds than allowed."""

    code = "too_large"


class UnsupportedMedia(EngineError):
    """The media type of the content is one that nothing here reads."""

    code = "unsupported_media"


class InvalidInput(EngineError):
    """A value is of the wrong type, shape or range."""

    code = "invalid_input"


class InvalidConfig(EngineError):
    """A configuration file does not hold; the message carries every mistake with file and line."""

    code = "invalid_config"


class QuotaExceeded(EngineError):
    """A rate limit or a budget is used up; *retry_after_s* says when to come back."""

    code = "quota_exceeded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class ModelFailure(EngineError):
    """A model or a step raised, or returned something other than it promised."""

    code = "model_failure"


class NoNumber(ModelFailure):
    """What a model gave is NaN, where a number is needed."""


class ProcessDied(ModelFailure):
    """The process that a model has of its own died with a batch, and so did the one that tried it again."""


class Internal(EngineError):
    """A fault of Headrace itself."""

    code = "internal"


class DependencyFailure(EngineError):
    """Something outside (a database, a broker, a remote model) failed."""

    code = "dependency_failure"
    retryable = True


class BreakerOpen(DependencyFailure):
    """Something outside has failed so often that it is not asked for a while."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class Overloaded(EngineError):
    """A queue is full; the request was refused at once."""

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class NotReady(EngineError):
    """Not loaded yet, or shutting down."""

    code = "not_ready"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(EngineError):
    """The time that the caller gave was over before the answer was there."""

    code = "deadline_exceeded"
