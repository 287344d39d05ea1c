"""What does the failure of a database mean, in words for people?"""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from headrace.domain.errors import DependencyFailure, EngineError

_NOT_OPENED: Final = "cannot be opened: is its folder there, and may this server write into it?"
_SQLITE: Final = (
    ("is locked", "is locked by another program, which keeps it for too long"),
    ("readonly", "is read-only: this server may not write the file or its folder"),
    ("disk is full", "is full: there is no room left on its disk"),
    ("disk i/o error", "cannot be written: its disk is full or broken"),
    ("unable to open", _NOT_OPENED),
    ("not a database", "is no SQLite database, or a damaged one"),
    ("malformed", "is damaged; `sqlite3 FILE .recover` saves what can be saved"),
)
_AWAY: Final = ("shutting down", "starting up", "terminating connection", "connection is closed")
"""What a PostgreSQL that leaves, or comes, answers to those who still reach it."""
_LONGEST: Final = 300
_FAULTS: Final = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What no database raises: these are ours, and stay what they are."""


def meaning(error: Exception) -> Exception:
    """*error* as an EngineError; a row that is there already (IntegrityError) stays what it is, for whoever asked."""
    if isinstance(error, (EngineError, IntegrityError, *_FAULTS)):
        return error
    return DependencyFailure(f"the state database {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | PoolTimeout):
        return "does not answer in time"
    if isinstance(error, FileExistsError | FileNotFoundError | NotADirectoryError | PermissionError):
        return _NOT_OPENED
    told = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    for found, words in _SQLITE:
        if found in told.lower():
            return words
    if isinstance(error, OSError) or any(found in told.lower() for found in _AWAY):
        return f"cannot be reached: {told[:_LONGEST]}"
    return f"failed: {told[:_LONGEST]}"
