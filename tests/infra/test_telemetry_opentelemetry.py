"""Do spans arrive as they were, and what becomes of them while nobody takes them?"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.otlp import Collector, collecting
from tests.servers.ports import free_port

from headrace import assembly
from headrace.core.telemetry import Parts, Sort, Span, TraceContext, Value
from headrace.infra.telemetry import opentelemetry as module
from headrace.infra.telemetry import otlp_spans
from headrace.infra.telemetry.opentelemetry import LARGEST, TOGETHER, WAITING, OpenTelemetry, traces_url


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@dataclass
class Told:
    """Something that has ended and left these spans."""

    left: list[Span | Parts]

    def spans(self) -> list[Span | Parts]:
        return self.left


class Broken:
    """Something whose spans cannot be told."""

    def spans(self) -> list[Span]:
        raise RuntimeError("broken")


def opened(url: str, share: float = 1.0) -> OpenTelemetry:
    return OpenTelemetry(url, share=share, service="shop", version="2.1", headers={"x-key": "secret"})


BATCH = Sort("batch")


def told(sort: Sort = BATCH, number: int = 1, **changes: Any) -> Told:
    given: dict[str, Any] = {"parent": None, "started_ns": 10, "ended_ns": 20, **changes}
    return Told([Span(sort, TraceContext(7, number, "vendor=1"), **given)])


def test_a_span_arrives_as_it_was(collector: Collector) -> None:
    telemetry = opened(collector.url)
    links = [TraceContext(8, 80), TraceContext(9, 90)]
    parent = TraceContext(7, 3, "vendor=1")
    common: dict[str, Value] = {"headrace.pipeline": "digits", "headrace.cached": False}
    attributes: dict[str, Value] = {"headrace.batch_size": 4, "headrace.cost": 0.5}

    telemetry.export(
        told(Sort("batch", "server", common, "internal"), parent=parent, attributes=attributes, links=links)
    )
    telemetry.close(5)

    [found] = collector.spans
    assert (found.name, found.kind, found.status) == ("batch", 2, 2)
    assert (found.trace_id, found.span_id, found.parent_id) == (f"{7:032x}", f"{1:016x}", f"{3:016x}")
    assert (found.started_ns, found.ended_ns, found.attributes) == (10, 20, common | attributes)
    assert found.links == [(f"{8:032x}", f"{80:016x}"), (f"{9:032x}", f"{90:016x}")]
    assert found.state == "vendor=1" and found.flags == 0x301  # sampled, with a parent elsewhere
    assert found.resource["service.name"] == "shop" and found.resource["service.version"] == "2.1"
    assert collector.paths == {"/v1/traces"} and collector.headers["x-key"] == "secret"


def test_parts_arrive_as_spans_below_their_parent(collector: Collector) -> None:
    telemetry, parent = opened(collector.url), TraceContext(7, 3, "vendor=1")

    telemetry.export(Told([Parts(parent, [(Sort("queue"), 10, 20), (Sort("infer"), 20, 40)])]))
    telemetry.close(5)

    queue, infer = collector.spans
    assert [(one.name, one.started_ns, one.ended_ns) for one in (queue, infer)] == [
        ("queue", 10, 20),
        ("infer", 20, 40),
    ]
    assert {one.trace_id for one in (queue, infer)} == {f"{7:032x}"}
    assert {one.parent_id for one in (queue, infer)} == {f"{3:016x}"}
    assert queue.span_id != infer.span_id and len(queue.span_id) == 16
    assert queue.state == infer.state == "vendor=1" and queue.flags == infer.flags == 0x101


@pytest.mark.parametrize("links", [0, 1, 3, 400, 50_000])
def test_a_span_of_any_length_arrives_whole(collector: Collector, links: int) -> None:
    telemetry = opened(collector.url)

    telemetry.export(told(links=[TraceContext(8, number) for number in range(1, links + 1)]))
    telemetry.export(told(Sort("next")))
    telemetry.close(5)

    whole, following = collector.spans
    assert (len(whole.links), following.name) == (links, "next")
    assert whole.links[-1:] == [(f"{8:032x}", f"{links:016x}")][:links]


def test_spans_of_many_sorts_arrive_as_they_were(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_spans, "MOST_SORTS", 2)
    telemetry = opened(collector.url)
    sorts = [Sort(f"sort {number % 5}", attributes={"number": number}) for number in range(20)]

    for sort in sorts:
        telemetry.export(told(sort))
    telemetry.close(5)

    assert [(found.name, found.attributes) for found in collector.spans] == [
        (sort.name, sort.attributes) for sort in sorts
    ]


def test_what_is_left_is_sent_at_the_end(collector: Collector) -> None:
    telemetry = opened(collector.url)

    for number in range(1, 1001):
        telemetry.export(told(number=number))
    telemetry.close(5)

    assert len(collector.spans) == telemetry.delivery.sent == 1000


def test_much_is_sent_in_several_deliveries_in_the_order_in_which_it_ended(collector: Collector) -> None:
    telemetry = opened(collector.url)

    for number in range(1, 2 * LARGEST + 2, 2):
        telemetry.export(Told([*told(number=number).left, *told(number=number + 1).left]))
    telemetry.close(5)

    assert len(collector.sizes) >= 2 and max(collector.sizes) < LARGEST + 2 * TOGETHER
    assert [int(found.span_id, 16) for found in collector.spans] == list(range(1, 2 * LARGEST + 3))


def test_what_cannot_be_told_is_logged_and_ends_nothing(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    telemetry = opened(collector.url)

    telemetry.export(Broken())
    telemetry.export(told(Sort("next")))
    telemetry.close(5)

    assert [found.name for found in collector.spans] == ["next"]
    assert "cannot be written" in caplog.text


def test_memory_is_bounded_while_nobody_takes_anything_and_what_is_lost_is_counted() -> None:
    telemetry = opened(f"http://127.0.0.1:{free_port()}")
    ended = (WAITING + 3) * LARGEST

    for number in range(1, ended + 1):
        telemetry.export(told(number=number))

    assert len(telemetry._waiting) <= WAITING
    telemetry.close(0)
    assert 2 * LARGEST <= telemetry.delivery.lost <= ended


def test_the_end_does_not_wait_for_an_endpoint_that_is_away_but_says_so(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = opened(f"http://127.0.0.1:{free_port()}")
    telemetry.export(told())
    started = time.monotonic()

    telemetry.close(0.3)

    assert time.monotonic() - started < 2
    assert "does not take them" in caplog.text and telemetry.delivery.lost == 1


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://tempo.example/otlp/v1/traces", "https://tempo.example/otlp/v1/traces"),
    ],
)
def test_the_path_of_the_protocol_is_used_where_none_is_given(given: str, used: str) -> None:
    assert traces_url(given) == used


@pytest.mark.parametrize("wanted", [True, False])
def test_missing_libraries_are_named_where_traces_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("opentelemetry.no_such_part",))
    main = tmp_path / "config" / "main.yaml"
    main.parent.mkdir()
    main.write_text("framework: {name: Shop}\n" + "telemetry: {otlp_endpoint: 'http://collector:4318'}\n" * wanted)

    mistakes = assembly.check(main).mistakes

    assert len(mistakes) == wanted
    if wanted:
        assert mistakes[0].startswith("config/main.yaml:2: telemetry.otlp_endpoint: found 'http://collector:4318'")
        assert mistakes[0].endswith("pip install 'headrace[otel]'")
