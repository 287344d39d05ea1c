"""What do spans look like in OTLP? OpenTelemetry's protobuf messages, of which we write what each of them has.

The SDK's encoder wants the SDK's spans, which cost several times as much to make as the messages do. Protobuf lets a
message be cut into parts, one after another in any order: what all spans of a sort have in common is written once, by
the library, and the numbers and times of each, which are of one width, stand behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from random import randbytes
from struct import Struct
from typing import Any, Final

from headrace.core.telemetry import Parts, Sort, Span, TraceContext, Value

SCOPE: Final = "headrace"
MOST_SORTS: Final = 4096
"""Written sorts that are kept."""
_NUMBERS: Final = Struct("<2s16s2s8sBQBQ2sI").pack
"""Of the trace and the span, when it began and ended, and flags: each behind its tag, and bytes behind their length."""
_TRACE_ID, _SPAN_ID, _PARENT_ID, _BEGAN, _ENDED, _FLAGS = b"\x0a\x10", b"\x12\x08", b"\x22\x08", 0x39, 0x41, b"\x85\x01"
_LINK: Final = Struct("<2s2s16s2s8sBI").pack
_IN_SPAN, _LINK_FLAGS = b"\x6a\x21", 0x35
_IN_DELIVERY, _IN_GROUP, _IN_SCOPE = 0x0A, 0x12, 0x12
_FIELDS: Final[Mapping[type, str]] = {
    str: "string_value", bool: "bool_value", int: "int_value", float: "double_value",
}  # fmt: skip


class Encoder:
    """Writes deliveries, ``ExportTraceServiceRequest``, of the spans of one *resource*."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, SpanFlags, Status
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

        group, scope = ResourceSpans(), ScopeSpans()
        _describe(group.resource.attributes, resource)
        scope.scope.name = SCOPE
        self._resource, self._scope = group.SerializeToString(), scope.SerializeToString()
        self._kinds = {
            "server": Message.SPAN_KIND_SERVER,
            "consumer": Message.SPAN_KIND_CONSUMER,
            "internal": Message.SPAN_KIND_INTERNAL,
        }
        self._message, self._error = Message, Status.STATUS_CODE_ERROR
        self._sorts: dict[Sort, bytes] = {}
        self._here = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | 1  # 1: sampled
        self._elsewhere = self._here | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

    def delivery(self, written: Iterable[bytes]) -> bytes:
        """A delivery of spans that are *written*."""
        spans = b"".join([part for span in written for part in (_head(_IN_SCOPE, len(span)), span)])
        scope = _head(_IN_GROUP, len(self._scope) + len(spans)) + self._scope
        group = _head(_IN_DELIVERY, len(self._resource) + len(scope) + len(spans)) + self._resource
        return b"".join((group, scope, spans))

    def write(self, written: list[bytes], spans: Iterable[Span | Parts]) -> None:
        """Append each of *spans* to what is *written*."""
        for one in spans:
            if isinstance(one, Span):
                written.append(self._span(one))
            else:
                self._parts(written, one)

    def _span(self, span: Span) -> bytes:
        sort, own, parent, began_ns, ended_ns, attributes, links = span
        flags = self._here if parent is None or sort.kind == "internal" else self._elsewhere
        numbers = _NUMBERS(
            _TRACE_ID, own.trace_id.to_bytes(16, "big"), _SPAN_ID, own.span_id.to_bytes(8, "big"),
            _BEGAN, began_ns, _ENDED, ended_ns, _FLAGS, flags,
        )  # fmt: skip
        parts = [self._sorts.get(sort) or self._sort(sort), numbers, _below(parent)]
        for link in links:
            there, its_span = link.trace_id.to_bytes(16, "big"), link.span_id.to_bytes(8, "big")
            parts.append(_LINK(_IN_SPAN, _TRACE_ID, there, _SPAN_ID, its_span, _LINK_FLAGS, self._elsewhere))
        if attributes or own.state:
            rest = self._message(trace_state=own.state)
            _describe(rest.attributes, attributes)
            parts.append(rest.SerializeToString())
        return b"".join(parts)

    def _parts(self, written: list[bytes], parts: Parts) -> None:
        trace_id, _, state = parts.parent
        trace, above = trace_id.to_bytes(16, "big"), _below(parts.parent)
        if state:
            above += self._message(trace_state=state).SerializeToString()
        for sort, began_ns, ended_ns in parts.intervals:
            numbers = _NUMBERS(
                _TRACE_ID, trace, _SPAN_ID, randbytes(8), _BEGAN, began_ns, _ENDED, ended_ns, _FLAGS, self._here
            )
            written.append((self._sorts.get(sort) or self._sort(sort)) + numbers + above)

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


@lru_cache(4096)
def _head(tag: int, length: int) -> bytes:
    """What stands before a message of that *length* in another one: seven bits of it at a time, the lowest first."""
    head = bytearray((tag,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _below(parent: TraceContext | None) -> bytes:
    return b"" if parent is None else _PARENT_ID + parent.span_id.to_bytes(8, "big")


def _describe(messages: Any, attributes: Mapping[str, Value]) -> None:
    for key, value in attributes.items():
        setattr(messages.add(key=key).value, _FIELDS[type(value)], value)
