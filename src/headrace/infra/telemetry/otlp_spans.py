"""What do spans look like in OTLP? Protobuf messages, filled straight from ours.

The SDK's encoder wants the SDK's spans, which cost several times as much to make as the messages do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.core.telemetry import Span, Value

SCOPE: Final = "headrace"
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
        self._error = Status.STATUS_CODE_ERROR
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
        for name, own, parent, kind, started_ns, ended_ns, attributes, links, error in spans:
            message = messages.add()
            message.trace_id = own.trace_id.to_bytes(16, "big")
            message.span_id = own.span_id.to_bytes(8, "big")
            message.name = name
            message.kind = self._kinds[kind]
            message.start_time_unix_nano = started_ns
            message.end_time_unix_nano = ended_ns
            message.flags = self._here
            if own.state:
                message.trace_state = own.state
            if parent is not None:
                message.parent_span_id = parent.span_id.to_bytes(8, "big")
                if kind != "internal":
                    message.flags = self._elsewhere
            if attributes:
                _describe(message.attributes, attributes)
            for link in links:
                there = message.links.add(flags=self._elsewhere)
                there.trace_id, there.span_id = link.trace_id.to_bytes(16, "big"), link.span_id.to_bytes(8, "big")
            if error is not None:
                message.status.code, message.status.message = self._error, error


def _describe(messages: Any, attributes: Mapping[str, Value]) -> None:
    for key, value in attributes.items():
        setattr(messages.add(key=key).value, _FIELDS[type(value)], value)
