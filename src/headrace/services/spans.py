"""Which spans tell of a request, a batch and a window of events?

What has ended hands over the few facts that are known then, and the spans are made of them here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar

from headrace.core.telemetry import Kind, Parts, Sort, Span, Telemetry, Trace, TraceContext, Value, current
from headrace.domain.batch import Batch
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.step import Took
from headrace.services.batch_run import in_place
from headrace.services.context import Result, Timing
from headrace.services.costs import Cost

NOT_OURS: Final = frozenset({
    "ok", "cancelled", "invalid_request", "unauthenticated", "denied", "not_found", "ambiguous_version", "conflict",
    "too_large", "unsupported_media", "invalid_input", "quota_exceeded",
})  # fmt: skip
"""Codes that say nothing bad about this server; the span of such a request is no failed one."""

_DOORS: Final[Mapping[str, Mapping[str, Value]]] = {
    "http": {"http.request.method": "POST"},
    "grpc": {"rpc.system.name": "grpc"},
    "stream": {"messaging.system": "headrace", "messaging.operation.type": "process"},
}
"""What OpenTelemetry's conventions call what we know of a door."""

_UNKNOWN: Final = "_OTHER"
"""OpenTelemetry's word for an error without a name of its own."""
SORTS: Final = 1024
"""Sorts of each kind that are remembered."""

_QUEUE: Final = Sort("queue")
Told = tuple[int, bool, Cost | None]
"""How many rows there were, whether they were in the cache, and what they cost."""
T = TypeVar("T")


class RequestEnd(NamedTuple):
    """A request was answered with *code*; of its result, if it came to one, this is *told*.

    Times are seconds of the monotonic clock, here and below.
    """

    trace: Trace
    door: str
    request_id: str
    ref: PipelineRef
    code: str
    began: float
    ended: float
    told: Told | None

    def spans(self) -> Iterator[Span]:
        """The one span of a request."""
        rows, cached, cost = self.told or (None, False, None)
        sort, trace, offset_ns = _request(self.door, self.ref, self.code, rows), self.trace, _offset_ns()
        attributes = facts(cached, cost)
        if self.request_id:
            attributes["headrace.request_id"] = self.request_id
        began_ns, ended_ns = _wall_ns(self.began, offset_ns), _wall_ns(self.ended, offset_ns)
        yield Span(sort, trace.own, trace.parent, began_ns, ended_ns, attributes, trace.links)


class WindowEnd(NamedTuple):
    """A window of *events* of a stream was written; *failed* of them went to the dead letters."""

    trace: Trace
    name: str
    topic: str
    events: int
    failed: int
    began: float
    ended: float

    def spans(self) -> Iterator[Span]:
        """The one span of a window."""
        trace, offset_ns = self.trace, _offset_ns()
        attributes = {"messaging.batch.message_count": self.events, "headrace.failed": self.failed}
        began_ns, ended_ns = _wall_ns(self.began, offset_ns), _wall_ns(self.ended, offset_ns)
        yield Span(_window(self.name, self.topic), trace.own, trace.parent, began_ns, ended_ns, attributes, trace.links)


class BatchTrace:
    """A batch of which something is traced: *members* are its traced requests, and since when each has waited."""

    __slots__ = ("_members", "_own", "_pipeline", "_telemetry")

    def __init__(self, telemetry: Telemetry, members: Sequence[tuple[Trace, float]], pipeline: Pipeline) -> None:
        self._telemetry = telemetry
        self._members = members
        self._pipeline = pipeline
        self._own = members[0][0].own.child()
        for trace, _ in members:
            trace.links.append(self._own)

    def around(self, call: Callable[..., Awaitable[Batch]]) -> Callable[..., Awaitable[Batch]]:
        """*call* such that what it runs, here or elsewhere, knows its trace, until `end`."""
        current.set(self._own)
        return call if call is in_place else partial(self._elsewhere, call)

    def within(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns, which knows its trace."""
        token = current.set(self._own)
        try:
            return function(*args)
        finally:
            current.reset(token)

    def end(self, timing: Timing) -> None:
        """The batch is done; it failed as a whole if *timing* knows of no time that it took."""
        if current.get() is self._own:
            current.set(None)
        pipeline = self._pipeline
        self._telemetry.export(
            BatchEnd(self._own, self._members, pipeline.ref, pipeline.model_name, timing, time.monotonic())
        )

    def _elsewhere(
        self, call: Callable[..., Awaitable[Batch]], function: Callable[..., Batch], *args: Any
    ) -> Awaitable[Batch]:
        return call(self.within, function, *args)


class BatchEnd(NamedTuple):
    """A batch has ended."""

    own: TraceContext
    members: Sequence[tuple[Trace, float]]
    ref: PipelineRef
    model: str
    timing: Timing
    ended: float

    def spans(self) -> Iterator[Span | Parts]:
        """The span of the batch below its first traced request and linked to all; the phases below each of these."""
        timing, offset_ns = self.timing, _offset_ns()
        began_ns, links = _wall_ns(timing.started, offset_ns), [trace.own for trace, _ in self.members]
        sort = _batch(self.ref, self.model, timing.batch_size, not timing.run_s)
        yield Span(sort, self.own, links[0], began_ns, _wall_ns(self.ended, offset_ns), links=links)
        phases = _phases(timing.steps, offset_ns)
        for trace, queued_at in self.members:
            yield Parts(trace.own, [(_QUEUE, _wall_ns(queued_at, offset_ns), began_ns), *phases])


def _phases(steps: Sequence[Took], offset_ns: int) -> list[tuple[Sort, int, int]]:
    """Each phase from the beginning of its first step to the end of its last one."""
    phases: list[tuple[Sort, int, int]] = []
    for phase, _, seconds, began in steps:
        sort, began_ns = _phase(phase), _wall_ns(began, offset_ns)
        ended_ns = began_ns + int(seconds * 1e9)
        if phases and phases[-1][0] is sort:
            began_ns = phases.pop()[1]
        phases.append((sort, began_ns, ended_ns))
    return phases


@lru_cache(SORTS)
def _request(door: str, ref: PipelineRef, code: str, rows: int | None) -> Sort:
    about = {"headrace.door": door, "headrace.pipeline": ref.name, "headrace.version": ref.version}
    attributes = {**_DOORS.get(door, {}), **about}
    if rows is not None:
        attributes["headrace.rows"] = rows
    if code != "ok":
        attributes["error.type"] = code
    kind: Kind = "server" if door in ("http", "grpc") else "internal"
    return Sort(f"infer {ref.name}", kind, attributes, None if code in NOT_OURS else code)


@lru_cache(SORTS)
def _window(name: str, topic: str) -> Sort:
    named = {"messaging.destination.name": topic, "messaging.consumer.group.name": name}
    return Sort(f"process {topic}", "consumer", {**_DOORS["stream"], **named})


@lru_cache(SORTS)
def _batch(ref: PipelineRef, model: str, size: int, failed: bool) -> Sort:
    about: dict[str, Value] = {"headrace.pipeline": str(ref), "headrace.model": model, "headrace.batch_size": size}
    if failed:
        return Sort("batch", "internal", {**about, "error.type": _UNKNOWN}, _UNKNOWN)
    return Sort("batch", "internal", about)


@lru_cache(SORTS)
def _phase(name: str) -> Sort:
    return Sort(name)


def told_of(result: Result) -> Told:
    """What a span and a line tell of *result*, of which nothing else is kept."""
    return len(result.picks), result.cached, result.cost


def facts(cached: bool, cost: Cost | None) -> dict[str, Value]:
    """What is told of a result beside its rows, by the names that it goes by."""
    found: dict[str, Value] = {}
    if cached:
        found["headrace.cached"] = True
    if cost is not None:
        found |= {"headrace.cost": cost.amount, "headrace.currency": cost.currency}
        if cost.tokens is not None:
            found["headrace.tokens"] = cost.tokens
    return found


def _offset_ns() -> int:
    """How many nanoseconds the monotonic clock is before the other one."""
    return time.time_ns() - time.monotonic_ns()


def _wall_ns(moment: float, offset_ns: int) -> int:
    """*moment* of the monotonic clock in nanoseconds since the epoch."""
    return int(moment * 1e9) + offset_ns
