"""What is told about single requests? Spans of those that are traced, and a log line where lines are wanted.

A server that neither traces nor logs requests has no witness at all. Spans are made when what they tell of has
ended, from times that are taken anyway.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import random
from typing import Any, Final, Literal, Protocol

from headrace.core.logging import logger, trace_id
from headrace.core.telemetry import NullTelemetry, Span, Telemetry, Trace, TraceContext, Value, begun, current
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.services.context import RequestContext, Result, Timing

log = logger("headrace.requests")

Lines = Literal["none", "errors", "all"]

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


class Queued(Protocol):
    """What waits for a batch: since when, and whether it is traced."""

    @property
    def trace(self) -> Trace | None:
        """Where its spans belong."""

    @property
    def queued_at(self) -> float:
        """A second of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a ready batch."""

    trace: Trace | None
    queued_at: float


class Witness:
    """Looks on at requests and batches."""

    def __init__(self, telemetry: Telemetry | None = None, lines: Lines = "none") -> None:
        self.telemetry = telemetry or NullTelemetry()
        self.traces = telemetry is not None
        """Whether anything is traced at all."""
        self.tells = lines != "none"
        """Whether any request gets a line."""
        self._share = self.telemetry.share
        self._lines = lines

    def begin(self, request: RequestContext) -> None:
        """*request* has come: decide whether it is traced."""
        if not self.traces:
            return
        headers = request.headers
        parent = None if headers is None else headers.get("traceparent")
        if parent is None and random() >= self._share:  # nearly all take this way
            if trace_id.get() is not None:
                trace_id.set(None)
            return
        # What has got this far without a parent is sampled already.
        share = 1.0 if parent is None else self._share
        trace = request.trace = begun(share, parent, None if headers is None else headers.get("tracestate"))
        trace_id.set(None if trace is None else f"{trace.own.trace_id:032x}")

    def end(
        self, request: RequestContext, ref: PipelineRef | None, code: str, started: float, result: Result | None = None
    ) -> None:
        """*request* was answered with *code*, having begun at *started* of the monotonic clock.

        Called while the error is handled that it ended with, if there is one.
        """
        if request.trace is not None:
            self._request_span(request.trace, request, ref, code, started, result)
        if self._lines == "all" or (self._lines == "errors" and code != "ok"):
            self._line(request, ref, code, started, result)

    def refused(self, door: str, error: EngineError, request_id: str) -> None:
        """A request failed before it was known for which pipeline."""
        if self._lines != "none":
            log.warning("request", door=door, code=error.code, error=error.message, request_id=request_id)

    def batch(self, queued: Iterable[Queued], pipeline: Pipeline) -> BatchTrace | None:
        """A batch of what was *queued* begins; None if nothing of it is traced."""
        members = [(one.trace, one.queued_at) for one in queued if one.trace is not None]
        return BatchTrace(self.telemetry, members, pipeline) if members else None

    def window(self, headers: Iterable[Mapping[str, str]]) -> Trace | None:
        """The trace of a window of events with these *headers*: a part of the first one's, linked to all."""
        given = [(found.get("traceparent"), found.get("tracestate")) for found in headers]
        called = [begun(self._share, parent, state) for parent, state in given if parent is not None]
        traced = [trace for trace in called if trace is not None and trace.parent is not None]
        if not traced:
            return begun(self._share, None) if not called else None
        traced[0].links += [trace.parent for trace in traced if trace.parent is not None]
        return traced[0]

    def windowed(self, trace: Trace, name: str, topic: str, events: int, failed: int, started: float) -> None:
        """The window of *trace* was written; *failed* of its *events* went to the dead letters."""
        attributes: dict[str, Value] = {
            **_DOORS["stream"],
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": name,
            "messaging.batch.message_count": events,
            "headrace.failed": failed,
        }
        now = time.time_ns()
        began, name = wall_ns(started), f"process {topic}"
        self.telemetry.export(Span(name, trace.own, trace.parent, "consumer", began, now, attributes, trace.links))

    def _request_span(
        self,
        trace: Trace,
        request: RequestContext,
        ref: PipelineRef | None,
        code: str,
        started: float,
        result: Result | None,
    ) -> None:
        attributes: dict[str, Value] = {
            **_DOORS.get(request.door, {}),
            **_about(ref),
            "headrace.door": request.door,
        }
        if request.request_id:
            attributes["headrace.request_id"] = request.request_id
        if result is not None:
            attributes |= _facts(result)
        if code != "ok":
            attributes["error.type"] = code
        name = f"infer {ref.name}" if ref else "infer"
        kind: Literal["server", "internal"] = "server" if request.door in ("http", "grpc") else "internal"
        error = None if code in NOT_OURS else code
        now = time.time_ns()
        self.telemetry.export(
            Span(name, trace.own, trace.parent, kind, wall_ns(started), now, attributes, trace.links, error)
        )

    def _line(
        self, request: RequestContext, ref: PipelineRef | None, code: str, started: float, result: Result | None
    ) -> None:
        fields: dict[str, Any] = {
            "pipeline": ref.name if ref else None,
            "version": ref.version if ref else None,
            "code": code,
            "ms": round((time.monotonic() - started) * 1e3, 3),
            "door": request.door,
            "mode": request.mode,
        }
        if request.request_id:
            fields["request_id"] = request.request_id
        if request.trace is not None:
            fields["trace_id"] = f"{request.trace.own.trace_id:032x}"
        if result is not None:
            fields["batch_size"], fields["queue_ms"] = result.timing.batch_size, round(result.queue_s * 1e3, 3)
            fields |= {name.removeprefix("headrace."): value for name, value in _facts(result).items()}
        error = sys.exception() or (result.error() if result is not None else None)
        if isinstance(error, EngineError):
            fields["error"] = error.message
        (log.info if code == "ok" else log.warning)("request", **fields)


class BatchTrace:
    """The spans of one batch: its own below its first traced request, linked to all, and each request's phases."""

    def __init__(self, telemetry: Telemetry, members: Sequence[tuple[Trace, float]], pipeline: Pipeline) -> None:
        self._telemetry = telemetry
        self._members = members
        self._pipeline = pipeline
        self._own = members[0][0].own.child()
        for trace, _ in members:
            trace.links.append(self._own)
        if not pipeline.synchronous:  # what is awaited calls others perhaps
            current.set(self._own)

    def end(self, timing: Timing) -> None:
        """The batch is done; it failed as a whole if *timing* knows of no time that it took."""
        error = None if timing.run_s else "_OTHER"
        began, ended = wall_ns(timing.started), time.time_ns()
        about: Mapping[str, Value] = {
            "headrace.pipeline": str(self._pipeline.ref),
            "headrace.model": self._pipeline.model_name,
            "headrace.batch_size": timing.batch_size,
            **({"error.type": error} if error else {}),
        }
        first, links = self._members[0][0].own, [trace.own for trace, _ in self._members]
        self._telemetry.export(Span("batch", self._own, first, "internal", began, ended, about, links, error))
        for trace, queued_at in self._members:
            self._phase(trace.own, "queue", wall_ns(queued_at), began)
            start = began
            for phase, seconds in _phases(timing):
                stop = start + int(seconds * 1e9)
                self._phase(trace.own, phase, start, stop)
                start = stop

    def _phase(self, below: TraceContext, phase: str, started_ns: int, ended_ns: int) -> None:
        self._telemetry.export(Span(phase, below.child(), below, "internal", started_ns, ended_ns, {}))


def wall_ns(moment: float) -> int:
    """*moment* of the monotonic clock in nanoseconds since the epoch."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)


def _phases(timing: Timing) -> Sequence[tuple[str, float]]:
    totals: dict[str, float] = {}
    for phase, _, seconds in timing.steps:
        totals[phase] = totals.get(phase, 0.0) + seconds
    return list(totals.items())


def _about(ref: PipelineRef | None) -> dict[str, Value]:
    return {} if ref is None else {"headrace.pipeline": ref.name, "headrace.version": ref.version}


def _facts(result: Result) -> dict[str, Value]:
    facts: dict[str, Value] = {"headrace.rows": len(result.picks)}
    if result.cached:
        facts["headrace.cached"] = True
    if (cost := result.cost) is not None:
        facts |= {"headrace.cost": cost.amount, "headrace.currency": cost.currency}
        if cost.tokens is not None:
            facts["headrace.tokens"] = cost.tokens
    return facts
