"""What does a failure hold on to? The frames that it passed, those that called them, and in them the whole request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from traceback import walk_tb

from headrace.domain.errors import EngineError

DEEPEST = 20
"""Frames of a trace that are written down, the innermost ones."""


def let_go(errors: Iterable[BaseException]) -> None:
    """Part *errors*, and what led to them, from their frames. Of foreign ones the trace stays as text, in a note.

    An error that is kept in a local variable, or in a result, makes a circle with the frames of its trace: ten
    megabytes of a refused body stay in memory until the collector comes by, which takes its time here.
    """
    seen: set[int] = set()
    for error in errors:
        for one in _chain(error, seen):
            if one.__traceback__ is not None and not isinstance(one, EngineError):
                one.add_note(_trace(one))
            one.__traceback__ = None


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """*error*, and what led to it; each but once."""
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _trace(error: BaseException) -> str:
    """Where *error* passed, without the lines of the source: reading those takes long."""
    lines = [f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}'
             for frame, line in walk_tb(error.__traceback__)]  # fmt: skip
    return "\n".join(["raised at:", *lines[-DEEPEST:]])
