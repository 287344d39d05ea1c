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
from headrace.domain.step import Context
from headrace.services.context import Result, Timing

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
T = TypeVar("T")


class RequestEnd(NamedTuple):
    """A request was answered with *code*; *told* are the `facts` of its result."""

    trace: Trace
    door: str
    request_id: str
    ref: PipelineRef | None
    code: str
    started_ns: int
    ended_ns: int
    told: Mapping[str, Value] | None

    def spans(self) -> Iterator[Span]:
        """The one span of a request."""
        sort, trace = _request(self.door, self.ref, self.code), self.trace
        attributes: dict[str, Value] = dict(self.told or {})
        if self.request_id:
            attributes["headrace.request_id"] = self.request_id
        yield Span(sort, trace.own, trace.parent, self.started_ns, self.ended_ns, attributes, trace.links)


class WindowEnd(NamedTuple):
    """A window of *events* of a stream was written; *failed* of them went to the dead letters."""

    trace: Trace
    name: str
    topic: str
    events: int
    failed: int
    started_ns: int
    ended_ns: int

    def spans(self) -> Iterator[Span]:
        """The one span of a window."""
        trace = self.trace
        attributes = {"messaging.batch.message_count": self.events, "headrace.failed": self.failed}
        sort = _window(self.name, self.topic)
        yield Span(sort, trace.own, trace.parent, self.started_ns, self.ended_ns, attributes, trace.links)


class BatchTrace:
    """A batch of which something is traced: *members* are its traced requests, and since when each has waited."""

    __slots__ = ("_members", "_moments", "_own", "_pipeline", "_telemetry")

    def __init__(self, telemetry: Telemetry, members: Sequence[tuple[Trace, float]], pipeline: Pipeline) -> None:
        self._telemetry = telemetry
        self._members = members
        self._pipeline = pipeline
        self._own = members[0][0].own.child()
        self._moments = Moments()
        for trace, _ in members:
            trace.links.append(self._own)

    def around(self, call: Callable[..., Awaitable[Batch]], context: Context) -> Callable[..., Awaitable[Batch]]:
        """*call* such that what it runs, here or elsewhere, knows its trace, until `end`.

        *context* notes from now on when a step ends.
        """
        current.set(self._own)
        context.timings = self._moments

        def calling(function: Callable[..., Batch], *args: Any) -> Awaitable[Batch]:
            return call(partial(_placed, self._own, function), *args)

        return calling

    def within(self, context: Context, function: Callable[..., T], *args: Any) -> T:
        """What ``function(*args)`` returns, which knows its trace; *context* notes when a step ends."""
        context.timings = self._moments
        return _placed(self._own, function, *args)

    def end(self, timing: Timing) -> None:
        """The batch is done; it failed as a whole if *timing* knows of no time that it took."""
        if current.get() is self._own:
            current.set(None)
        pipeline, now = self._pipeline, time.time_ns()
        offset_ns = now - int(time.monotonic() * 1e9)
        steps, ended = timing.steps, self._moments.ended if timing.steps is self._moments else None
        self._telemetry.export(
            BatchEnd(
                self._own, self._members, pipeline.ref, pipeline.model_name, timing.batch_size,
                not timing.run_s, timing.started, steps, ended, now, offset_ns,
            )
        )  # fmt: skip


class Moments(list[tuple[str, str, float]]):
    """The timings of a Context, with the second of the monotonic clock at which each of the steps *ended*."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended: list[float] = []

    def append(self, step: tuple[str, str, float]) -> None:
        """*step* has just ended."""
        super().append(step)
        self.ended.append(time.monotonic())


class BatchEnd(NamedTuple):
    """A batch has ended. Without the moments when its steps *ended*, each is taken to follow on the one before.

    *started* and *ended* are seconds of the monotonic clock, which is *offset_ns* before the other one.
    """

    own: TraceContext
    members: Sequence[tuple[Trace, float]]
    ref: PipelineRef
    model: str
    size: int
    failed: bool
    started: float
    steps: Sequence[tuple[str, str, float]]
    ended: Sequence[float] | None
    ended_ns: int
    offset_ns: int

    def spans(self) -> Iterator[Span | Parts]:
        """The span of the batch below its first traced request and linked to all; the phases below each of these."""
        began, links = self._wall(self.started), [trace.own for trace, _ in self.members]
        sort, size = _batch(self.ref, self.model, self.failed), {"headrace.batch_size": self.size}
        yield Span(sort, self.own, links[0], began, self.ended_ns, size, links)
        phases = self._phases()
        for trace, queued_at in self.members:
            yield Parts(trace.own, [(_QUEUE, self._wall(queued_at), began), *phases])

    def _phases(self) -> list[tuple[Sort, int, int]]:
        """Each phase from the start of its first step to the end of its last one."""
        phases: list[tuple[Sort, int, int]] = []
        stop = self._wall(self.started)
        for index, (phase, _, seconds) in enumerate(self.steps):
            took = int(seconds * 1e9)
            start = stop if self.ended is None else self._wall(self.ended[index]) - took
            stop = start + took
            sort = _phase(phase)
            if phases and phases[-1][0] is sort:
                start = phases.pop()[1]
            phases.append((sort, start, stop))
        return phases

    def _wall(self, moment: float) -> int:
        return int(moment * 1e9) + self.offset_ns


@lru_cache(SORTS)
def _request(door: str, ref: PipelineRef | None, code: str) -> Sort:
    attributes = {**_DOORS.get(door, {}), "headrace.door": door}
    if ref is not None:
        attributes |= {"headrace.pipeline": ref.name, "headrace.version": ref.version}
    if code != "ok":
        attributes["error.type"] = code
    name = f"infer {ref.name}" if ref else "infer"
    kind: Kind = "server" if door in ("http", "grpc") else "internal"
    return Sort(name, kind, attributes, None if code in NOT_OURS else code)


@lru_cache(SORTS)
def _window(name: str, topic: str) -> Sort:
    named = {"messaging.destination.name": topic, "messaging.consumer.group.name": name}
    return Sort(f"process {topic}", "consumer", {**_DOORS["stream"], **named})


@lru_cache(SORTS)
def _batch(ref: PipelineRef, model: str, failed: bool) -> Sort:
    about: dict[str, Value] = {"headrace.pipeline": str(ref), "headrace.model": model}
    if failed:
        return Sort("batch", "internal", {**about, "error.type": _UNKNOWN}, _UNKNOWN)
    return Sort("batch", "internal", about)


@lru_cache(SORTS)
def _phase(name: str) -> Sort:
    return Sort(name)


def facts(result: Result) -> dict[str, Value]:
    """What a span and a line tell of *result*, of which nothing else is kept."""
    found: dict[str, Value] = {"headrace.rows": len(result.picks)}
    if result.cached:
        found["headrace.cached"] = True
    if (cost := result.cost) is not None:
        found |= {"headrace.cost": cost.amount, "headrace.currency": cost.currency}
        if cost.tokens is not None:
            found["headrace.tokens"] = cost.tokens
    return found


def wall_ns(moment: float) -> int:
    """*moment* of the monotonic clock in nanoseconds since the epoch."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)


def _placed(place: TraceContext, function: Callable[..., T], *args: Any) -> T:
    """What ``function(*args)`` returns, with *place* as the `current` one."""
    token = current.set(place)
    try:
        return function(*args)
    finally:
        current.reset(token)
