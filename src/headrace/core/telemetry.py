"""How does code say what it counts and times, without knowing who collects it?"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Telemetry(Protocol):
    """Takes numbers and spans; every method is cheap, callable from any thread, and raises nothing.

    *name* has no prefix and ends in its base unit (``request_seconds``, ``model_memory_bytes``, ``requests_total``).
    Label values come from small fixed sets, never from a user's input. Cheap is not free: code that runs for every
    request sums up in plain numbers and reports once per batch, with *value* for many.
    """

    def count(self, name: str, /, value: float = 1, **labels: str) -> None:
        """Add *value*, which is not negative, to a total."""
        ...

    def observe(self, name: str, /, value: float, **labels: str) -> None:
        """Add one *value* to a distribution."""
        ...

    def gauge(self, name: str, /, value: float, **labels: str) -> None:
        """Replace a current value."""
        ...

    def span(self, name: str, /, **attributes: str | int | float | bool) -> AbstractContextManager[object]:
        """A piece of work that lasts as long as the context; an exception that leaves it marks it as failed."""
        ...


class NullTelemetry:
    """A Telemetry that keeps nothing."""

    def count(self, name: str, /, value: float = 1, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: str, /, value: float, **labels: str) -> None:
        """Nothing."""

    def gauge(self, name: str, /, value: float, **labels: str) -> None:
        """Nothing."""

    def span(self, name: str, /, **attributes: str | int | float | bool) -> AbstractContextManager[object]:
        """A context that does nothing."""
        return _NO_SPAN


_NO_SPAN: AbstractContextManager[object] = nullcontext()
