"""Where do spans go? To an OTLP/HTTP endpoint, from a thread of OpenTelemetry's own, within a bounded memory."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from headrace.core.config import Reader
from headrace.core.logging import logger
from headrace.core.telemetry import Span, TraceContext

log = logger(__name__)

QUEUE: Final = 8192
"""Spans that wait for the endpoint (some 2 KB each); beyond it the oldest are lost."""
EXPORT_S: Final = 5.0
"""How long one delivery is tried, with pauses in between."""
TRACES_PATH: Final = "/v1/traces"
PACKAGES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
# What fails is told by `Delivery`, once; these tell it for every batch and for every span that has no place.
_TALKATIVE: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)


def check_installed(reader: Reader, section: Any, endpoint: str | None) -> None:
    """Add a mistake to *reader* where traces are wanted and the libraries for them are missing."""
    if endpoint is None or _installed():
        return
    found = f"found {endpoint!r}, and traces need libraries that are not installed: pip install 'headrace[otel]'"
    reader.mistake(reader.place(section, "otlp_endpoint"), found, "telemetry.otlp_endpoint")


def _installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:  # the parent of a package is missing
        return False


class OpenTelemetry:
    """A Telemetry that samples a *share* of the requests and sends their spans to *endpoint* by OTLP/HTTP.

    The SDK's span objects are made of spans that have ended, and its batch processor alone is used: a tracer that
    is asked at the start and the end of every span costs several times as much.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        share: float,
        service: str,
        version: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The libraries must be there, as `check_installed` makes sure."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        url = traces_url(endpoint)
        self.delivery = Delivery(OTLPSpanExporter(url, headers=dict(headers or {}), timeout=EXPORT_S), url)
        # The thread takes what has gathered every second, or as soon as there is a good deal of it.
        self._processor: Any = BatchSpanProcessor(
            self.delivery.exporter(), max_queue_size=QUEUE, schedule_delay_millis=1000, max_export_batch_size=2048
        )
        self.share = share

        class OneResource(Resource):
            """The resource of all our spans, which the encoder looks up for each of them."""

            def __hash__(self) -> int:
                return 1  # the SDK's writes everything as JSON and hashes that

        known = Resource.create({**_about_this_process(), **_named(service, version)})
        self._made = _Maker(OneResource(known.attributes, known.schema_url))

    def export(self, span: Span) -> None:
        """Put *span* into the queue of the thread that sends; the oldest one leaves where there is no place."""
        self._processor.on_end(self._made(span))

    def close(self, limit_s: float) -> None:
        """Send what is left. An endpoint that is away is tried once more, and not waited for."""
        late = threading.Timer(limit_s, self.delivery.give_up)
        late.daemon = True
        late.start()
        try:
            if self.delivery.away:
                self.delivery.give_up()
            self._processor.shutdown()
        finally:
            late.cancel()


class Delivery:
    """Sends spans and says when that begins to fail and when it works again: a line for each change, not for each try.

    *sent* and *lost* count spans.
    """

    def __init__(self, exporter: Any, url: str) -> None:
        self.away = False
        self.sent = 0
        self.lost = 0
        self._inner = exporter
        self._url = url
        self._closed = False

    def exporter(self) -> Any:
        """This as a SpanExporter of the SDK."""
        from opentelemetry.sdk.trace.export import SpanExporter

        delivery = self

        class Exporter(SpanExporter):
            def export(self, spans: Sequence[Any]) -> Any:
                return delivery.deliver(spans)

            def shutdown(self) -> None:
                delivery.give_up()

        return Exporter()

    def deliver(self, spans: Sequence[Any]) -> Any:
        """Send *spans*; the SDK's result."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._closed:
            self.lost += len(spans)
            return SpanExportResult.FAILURE
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self.lost += len(spans)
        else:
            self.sent += len(spans)
        if failed and not self.away:
            log.warning("traces are lost: the OTLP endpoint does not take them; requests go on", endpoint=self._url)
        elif self.away and not failed:
            log.info("traces are sent again", endpoint=self._url, lost=self.lost)
        self.away = failed
        return result

    def give_up(self) -> None:
        """Try no longer, also where a try is under way."""
        if not self._closed:
            self._closed = True
            self._inner.shutdown()


def traces_url(endpoint: str) -> str:
    """Where traces go at *endpoint*: the path that OTLP names, unless the URL has one of its own."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(path=TRACES_PATH)) if parts.path in ("", "/") else endpoint


class _Maker:
    """Makes the SDK's spans of ours."""

    def __init__(self, resource: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace.status import Status, StatusCode

        self._resource = resource
        self._scope = InstrumentationScope("headrace")
        self._trace = trace
        self._span = ReadableSpan
        self._status, self._codes = Status, StatusCode
        self._flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        kinds = trace.SpanKind
        self._kinds = {"server": kinds.SERVER, "consumer": kinds.CONSUMER, "internal": kinds.INTERNAL}

    def __call__(self, span: Span) -> Any:
        status: Any = None if span.error is None else self._status(self._codes.ERROR, span.error)
        return self._span(
            span.name,
            context=self._context(span.own, remote=False),
            parent=None if span.parent is None else self._context(span.parent, remote=span.kind != "internal"),
            resource=self._resource,
            attributes=dict(span.attributes),
            links=[self._trace.Link(self._context(link, remote=True)) for link in span.links],
            kind=self._kinds[span.kind],
            status=status,
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )

    def _context(self, place: TraceContext, *, remote: bool) -> Any:
        state = self._trace.TraceState.from_header([place.state]) if place.state else None
        return self._trace.SpanContext(place.trace_id, place.span_id, remote, self._flags, state)


def _named(service: str, version: str) -> dict[str, str]:
    return {"service.name": service, **({"service.version": version} if version else {})}


def _about_this_process() -> dict[str, Any]:
    host = socket.gethostname()
    return {"service.instance.id": f"{host}-{os.getpid()}", "process.pid": os.getpid(), "host.name": host}
