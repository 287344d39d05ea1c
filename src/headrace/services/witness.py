"""What is told about single requests? Spans of those that are traced, and a log line where lines are wanted.

A server that neither traces nor logs requests has no witness at all. What is told was known anyway when it ended.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headrace.core.logging import logger, request_id, traced
from headrace.core.telemetry import NullTelemetry, Telemetry, Trace, begun, chosen, current
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.services.context import RequestContext, Result
from headrace.services.spans import BatchTrace, RequestEnd, WindowEnd, facts, told_of

log = logger("headrace.requests")

Lines = Literal["none", "errors", "all"]


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
        self.turns = chosen(self._share)
        """For one request after another: is it traced, where its caller does not say?"""
        self._lines = lines

    def begin(self, request: RequestContext) -> None:
        """*request* has come: decide whether it is traced."""
        if request.traceparent is not None or next(self.turns):
            self.trace(request)

    def trace(self, request: RequestContext) -> None:
        """Begin the trace of *request*: it is its turn, or its caller says whether it is to be traced."""
        if not self.traces:
            return
        if (parent := request.traceparent) is None:
            trace = begun(1.0, None)
        else:
            trace = begun(self._share, parent, None if request.headers is None else request.headers.get("tracestate"))
        request.trace = trace
        if trace is not None:
            traced.set((request_id.get(), trace.own.trace_id))

    def end(
        self,
        request: RequestContext,
        ref: PipelineRef,
        code: str,
        started: float,
        result: Result | None = None,
        error: BaseException | None = None,
    ) -> None:
        """*request* was answered with *code*, having begun at *started* of the monotonic clock.

        It ended with *error*; without one, with the error that is being handled, if any is.
        """
        if request.trace is not None:
            told, now = None if result is None else told_of(result), time.monotonic()
            self.telemetry.export(
                RequestEnd(request.trace, request.door, request.request_id, ref, code, started, now, told)
            )
        if self._lines == "all" or (self._lines == "errors" and code != "ok"):
            self._line(request, ref, code, started, result, error or sys.exception())

    def refused(self, door: str, error: EngineError, request_id: str) -> None:
        """A request failed before it was known for which pipeline."""
        if self._lines != "none":
            log.warning("request", door=door, code=error.code, error=error.message, request_id=request_id)

    def batch(self, queued: Sequence[Queued], pipeline: Pipeline) -> BatchTrace | None:
        """A batch of what was *queued* begins; None if nothing of it is traced."""
        members = [(one.trace, one.queued_at) for one in queued if one.trace is not None]
        if members:
            return BatchTrace(self.telemetry, members, pipeline)
        if current.get() is not None:  # a task inherits what was current where it was made
            current.set(None)
        return None

    def window(self, headers: Iterable[Mapping[str, str]]) -> Trace | None:
        """The trace of a window of events with these *headers*: a part of the first one's, linked to all."""
        given = [(found.get("traceparent"), found.get("tracestate")) for found in headers]
        called = [begun(self._share, parent, state) for parent, state in given if parent is not None]
        parts = [trace for trace in called if trace is not None and trace.parent is not None]
        if not parts:
            return begun(self._share, None) if not called else None
        parts[0].links += [trace.parent for trace in parts if trace.parent is not None]
        return parts[0]

    def windowed(self, trace: Trace, name: str, topic: str, events: int, failed: int, started: float) -> None:
        """The window of *trace* was written; *failed* of its *events* went to the dead letters."""
        self.telemetry.export(WindowEnd(trace, name, topic, events, failed, started, time.monotonic()))

    def _line(
        self,
        request: RequestContext,
        ref: PipelineRef,
        code: str,
        started: float,
        result: Result | None,
        error: BaseException | None,
    ) -> None:
        fields: dict[str, Any] = {
            "pipeline": ref.name,
            "version": ref.version,
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
            rows, cached, cost = told_of(result)
            fields["rows"] = rows
            fields |= {name.removeprefix("headrace."): value for name, value in facts(cached, cost).items()}
            error = error or result.error()
        if isinstance(error, EngineError):
            fields["error"] = error.message
        (log.info if code == "ok" else log.warning)("request", **fields)
