"""What do spans look like in OTLP? Protobuf messages, filled straight from ours.

The SDK's encoder wants the SDK's spans, which cost several times as much to make as the messages do. What all spans of
a sort have in common is merged into a message as bytes, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.core.telemetry import Sort, Span, Value

SCOPE: Final = "headrace"
MOST_SORTS: Final = 4096
"""Written sorts that are kept."""
_FIELDS: Final[Mapping[type, str]] = {
    str: "string_value", bool: "bool_value", int: "int_value", float: "double_value",
}  # fmt: skip


class Encoder:
    """Writes deliveries, ``ExportTraceServiceRequest``, of the spans of one *resource*."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
        from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags, Status

        self._delivery = ExportTraceServiceRequest
        self._resource = resource
        self._kinds = {
            "server": Message.SPAN_KIND_SERVER,
            "consumer": Message.SPAN_KIND_CONSUMER,
            "internal": Message.SPAN_KIND_INTERNAL,
        }
        self._message, self._error = Message, Status.STATUS_CODE_ERROR
        self._sorts: dict[Sort, bytes] = {}
        self._here = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | 1  # 1: sampled
        self._elsewhere = self._here | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

    def begin(self) -> tuple[Any, Any]:
        """A delivery, and the list in it that `add` fills."""
        delivery = self._delivery()
        group = delivery.resource_spans.add()
        _describe(group.resource.attributes, self._resource)
        scope = group.scope_spans.add()
        scope.scope.name = SCOPE
        return delivery, scope.spans

    def add(self, messages: Any, spans: Iterable[Span]) -> None:
        """Append *spans* to the list *messages*."""
        for sort, (trace_id, span_id, state), parent, started_ns, ended_ns, attributes, links in spans:
            message = messages.add(
                trace_id=trace_id.to_bytes(16, "big"),
                span_id=span_id.to_bytes(8, "big"),
                parent_span_id=b"" if parent is None else parent.span_id.to_bytes(8, "big"),
                start_time_unix_nano=started_ns,
                end_time_unix_nano=ended_ns,
                flags=self._here if parent is None or sort.kind == "internal" else self._elsewhere,
            )
            if state:
                message.trace_state = state
            message.MergeFromString(self._sorts.get(sort) or self._sort(sort))
            if attributes:
                _describe(message.attributes, attributes)
            for link in links:
                there, its_span = link.trace_id.to_bytes(16, "big"), link.span_id.to_bytes(8, "big")
                message.links.add(trace_id=there, span_id=its_span, flags=self._elsewhere)

    def _sort(self, sort: Sort) -> bytes:
        """What all spans of a *sort* have in common, written down."""
        if len(self._sorts) >= MOST_SORTS:
            self._sorts.clear()
        common = self._message(name=sort.name, kind=self._kinds[sort.kind])
        _describe(common.attributes, sort.attributes)
        if sort.error is not None:
            common.status.code, common.status.message = self._error, sort.error
        written = self._sorts[sort] = bytes(common.SerializeToString())
        return written


def _describe(messages: Any, attributes: Mapping[str, Value]) -> None:
    for key, value in attributes.items():
        setattr(messages.add(key=key).value, _FIELDS[type(value)], value)
