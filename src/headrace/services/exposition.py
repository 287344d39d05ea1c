"""Which numbers are shown to whoever scrapes, and under which names? Those of the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from headrace.services.engine import Engine
from headrace.services.measures import Labels, Measures
from headrace.services.streams import Streams

Labelled = Iterator[tuple[tuple[str, ...], Any]]


class Shown(Protocol):
    """Takes families of numbers; *read* is called at every scrape and gives (label values, number) pairs."""

    def counter(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a counter."""

    def gauge(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a gauge."""

    def histogram(self, name: str, help_text: str, labels: Sequence[str], read: Callable[[], Labelled]) -> None:
        """Show a histogram."""
