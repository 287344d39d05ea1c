"""A Telemetry that keeps the spans of what has ended."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.core.telemetry import Ended, Parts, Span


class Kept:
    """Parts are kept as the spans that they stand for."""

    def __init__(self, share: float = 1.0) -> None:
        self.spans: list[Span] = []
        self.share = share

    def export(self, ended: Ended) -> None:
        for one in ended.spans():
            self.spans += [one] if isinstance(one, Span) else _whole(one)

    def close(self, limit_s: float) -> None:
        pass

    def named(self, *names: str) -> list[Span]:
        return [span for span in self.spans if span.sort.name in names]


def _whole(parts: Parts) -> Iterator[Span]:
    for sort, began_ns, ended_ns in parts.intervals:
        yield Span(sort, parts.parent.child(), parts.parent, began_ns, ended_ns)
