"""How does code say what it did for which trace, without knowing who collects that?

A trace is followed through services by the header ``traceparent`` (W3C Trace Context). Numbers are not here: they
are summed up where they arise and read at a scrape.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import chain, repeat
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

Value = str | int | float | bool
Kind = Literal["server", "consumer", "internal"]

_TRACEPARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST: Final = 512
_SAMPLED: Final = 1
TOGETHER: Final = 64
"""So many are chosen at a time: one by one it would be done with cold caches."""
_FAR: Final = 2**60
"""Requests that no server lives to see."""


class TraceContext(NamedTuple):
    """One span's place: its trace's number (128 bits), its own (64 bits), and what its callers' tools noted."""

    trace_id: int
    span_id: int
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header that makes whoever is called next a part of this trace."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def child(self) -> TraceContext:
        """The place of a span below this one."""
        return TraceContext(self.trace_id, random.getrandbits(64) or 1, self.state)


@dataclass(slots=True)
class Trace:
    """A request that is traced: its own span's place, the *parent* that called us, and spans to *link* to."""

    own: TraceContext
    parent: TraceContext | None = None
    links: list[TraceContext] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Sort:
    """What all spans of a sort have in common; *error* is the code of what went wrong.

    A sort is made once and known again by its identity: then it need be written down but once.
    """

    name: str
    kind: Kind = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None


class Span(NamedTuple):
    """A part of a trace, with the *attributes* that it has beside those of its sort.

    Times are nanoseconds since the epoch.
    """

    sort: Sort
    own: TraceContext
    parent: TraceContext | None
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Value] = MappingProxyType({})
    links: Sequence[TraceContext] = ()


class Parts(NamedTuple):
    """Spans below *parent* of which nothing is told but their sort, and when each began and ended."""

    parent: TraceContext
    intervals: Sequence[tuple[Sort, int, int]]


class Ended(Protocol):
    """What has ended, as few facts as tell its spans. They are asked for once."""

    def spans(self) -> Iterable[Span | Parts]:
        """The spans of it."""
        ...


class Telemetry(Protocol):
    """Takes what has ended. It raises nothing, and never waits for anybody."""

    @property
    def share(self) -> float:
        """How much is traced (0 to 1) of what nobody else has decided about."""
        ...

    def export(self, ended: Ended) -> None:
        """Take what is *ended*, of a trace that was sampled."""
        ...

    def close(self, limit_s: float) -> None:
        """Send what is left within about *limit_s*; blocks."""
        ...


class NullTelemetry:
    """A Telemetry that keeps nothing."""

    share = 0.0

    def export(self, ended: Ended) -> None:
        """Nothing."""

    def close(self, limit_s: float) -> None:
        """Nothing."""


def begun(share: float, traceparent: str | None, tracestate: str | None = None) -> Trace | None:
    """The trace of a request that begins; None if it is not traced.

    Its caller's choice is respected; where there is none, *share* (0 to 1) of all is traced.
    """
    if traceparent is not None and (called := parsed(traceparent, tracestate)) is not None:
        parent, sampled = called
        return Trace(parent.child(), parent) if sampled else None
    if random.random() >= share:
        return None
    return Trace(TraceContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1))


def chosen(share: float) -> Iterator[bool]:
    """For one request after another, without end: is it among the *share* (0 to 1) of all that is traced?

    How many come before the next one is drawn from the geometric distribution. That chooses as a random number for each
    of them would, without drawing one.
    """
    return chain.from_iterable(chain(repeat(False, before), (True,)) for before in _gaps(share))


def _gaps(share: float) -> Iterator[int]:
    while True:
        yield from [_before_next(share) for _ in range(TOGETHER)]


def _before_next(share: float) -> int:
    if share >= 1:
        return 0
    gap = _FAR if share <= 0 else math.log1p(-random.random()) / math.log1p(-share)
    return max(0, math.ceil(min(gap, _FAR)) - 1)


def parsed(traceparent: str, tracestate: str | None = None) -> tuple[TraceContext, bool] | None:
    """Who calls, and whether they trace this; None for what is no ``traceparent``, which counts as if it were absent.

    https://www.w3.org/TR/trace-context/: later versions may append fields, version 00 has none.
    """
    match = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= _LONGEST else None
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    state = tracestate if tracestate is not None and len(tracestate) <= _LONGEST else ""
    return TraceContext(trace_id, span_id, state), bool(int(match[4], 16) & _SAMPLED)


current: ContextVar[TraceContext | None] = ContextVar("headrace_trace", default=None)
"""The span of the batch that runs here now, for models and steps that call other services."""


def outgoing() -> dict[str, str]:
    """The headers that a call to another service carries now: none unless what waits for it is traced."""
    place = current.get()
    if place is None:
        return {}
    return {"traceparent": place.traceparent, **({"tracestate": place.state} if place.state else {})}
