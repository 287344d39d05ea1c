"""A place that takes traces by OTLP/HTTP, as a collector does, and keeps what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Received:
    """One span as it arrived; ids are hexadecimal."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    status: int
    state: str
    flags: int
    resource: dict[str, Any]


@dataclass
class Collector:
    """What arrived so far; *headers* are those of the last delivery, *sizes* the spans in each one.

    The next deliveries get the *refusals*, one each, and those after them the status *answer*.
    """

    port: int = 0
    spans: list[Received] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    tries: int = 0
    refusals: list[int] = field(default_factory=list)
    answer: int = 200
    retry_after: str | None = None
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, count: int, name: str = "", limit_s: float = 20.0) -> list[Received]:
        """The spans called *name* (all of them without), once there are *count*."""

        def found() -> list[Received]:
            return [span for span in self.spans if not name or span.name == name]

        with self.arrived:
            assert self.arrived.wait_for(lambda: len(found()) >= count, limit_s), [span.name for span in self.spans]
            return found()


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector on *port*, or on a free one."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.tries += 1
            status = collector.refusals.pop(0) if collector.refusals else collector.answer
            if status == 200:
                with collector.arrived:
                    collector.paths.add(self.path)
                    collector.headers = {name.lower(): value for name, value in self.headers.items()}
                    found = decoded(body)
                    collector.sizes.append(len(found))
                    collector.spans += found
                    collector.arrived.notify_all()
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            if collector.retry_after is not None and status != 200:
                self.send_header("retry-after", collector.retry_after)
            if status == 302:
                self.send_header("location", f"{collector.url}/elsewhere")
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        collector.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def decoded(body: bytes) -> list[Received]:
    """The spans of one delivery."""
    found = []
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
                found.append(
                    Received(
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        _attributes(span.attributes),
                        links,
                        span.status.code,
                        span.trace_state,
                        span.flags,
                        resource,
                    )
                )
    return found


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
