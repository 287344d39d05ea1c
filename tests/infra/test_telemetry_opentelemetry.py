"""Do spans arrive as they were, and what becomes of them while nobody takes them?"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.otlp import Collector, collecting
from tests.servers.processes import free_port

from headrace import assembly
from headrace.core.telemetry import Span, TraceContext
from headrace.infra.telemetry import opentelemetry as module
from headrace.infra.telemetry.opentelemetry import QUEUE, OpenTelemetry, traces_url


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def opened(url: str, share: float = 1.0) -> OpenTelemetry:
    return OpenTelemetry(url, share=share, service="shop", version="2.1", headers={"x-key": "secret"})


def span(name: str = "batch", number: int = 1, **changes: object) -> Span:
    own = TraceContext(7, number)
    given = {"parent": None, "kind": "internal", "started_ns": 10, "ended_ns": 20, "attributes": {}, **changes}
    return Span(name, own, **given)  # type: ignore[arg-type]


def test_a_span_arrives_as_it_was(collector: Collector) -> None:
    telemetry = opened(collector.url)
    links = [TraceContext(8, 80), TraceContext(9, 90)]
    parent = TraceContext(7, 3, "vendor=1")
    attributes = {
        "headrace.batch_size": 4,
        "headrace.cached": False,
        "headrace.cost": 0.5,
        "headrace.pipeline": "digits",
    }

    telemetry.export(span(parent=parent, kind="server", attributes=attributes, links=links, error="internal"))
    telemetry.close(5)

    [found] = collector.spans
    assert (found.name, found.kind, found.status) == ("batch", 2, 2)
    assert (found.trace_id, found.span_id, found.parent_id) == (f"{7:032x}", f"{1:016x}", f"{3:016x}")
    assert (found.started_ns, found.ended_ns, found.attributes) == (10, 20, attributes)
    assert found.links == [(f"{8:032x}", f"{80:016x}"), (f"{9:032x}", f"{90:016x}")]
    assert found.resource["service.name"] == "shop" and found.resource["service.version"] == "2.1"
    assert collector.paths == {"/v1/traces"} and collector.headers["x-key"] == "secret"


def test_what_is_left_is_sent_at_the_end(collector: Collector) -> None:
    telemetry = opened(collector.url)

    for number in range(1, 1001):
        telemetry.export(span(number=number))
    telemetry.close(5)

    assert len(collector.spans) == telemetry.delivery.sent == 1000


def test_an_endpoint_that_is_away_is_told_once_and_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "headrace")
    port = free_port()
    telemetry = opened(f"http://127.0.0.1:{port}")
    telemetry.delivery._inner._client._timeout = 0.2  # the pauses between tries need not be waited for here

    for _ in range(3):
        telemetry.export(span())
        telemetry._processor.force_flush()
    away = [record.message for record in caplog.records if record.name.startswith("headrace")]
    with collecting(port) as collector:
        telemetry.export(span("back"))
        telemetry._processor.force_flush()
        collector.wait_for(1, "back")
        telemetry.close(5)

    told = [record.message for record in caplog.records if record.name.startswith("headrace")]
    assert len(away) == 1 and "does not take them" in away[0]
    assert len(told) == 2 and "sent again" in told[1]
    assert telemetry.delivery.lost == 3
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_memory_is_bounded_while_nobody_takes_anything() -> None:
    telemetry = opened(f"http://127.0.0.1:{free_port()}")

    for number in range(1, 3 * QUEUE):
        telemetry.export(span(number=number))

    assert len(telemetry._processor._batch_processor._queue) <= QUEUE
    telemetry.close(0)


def test_the_end_does_not_wait_for_an_endpoint_that_is_away() -> None:
    telemetry = opened(f"http://127.0.0.1:{free_port()}")
    telemetry.export(span())
    started = time.monotonic()

    telemetry.close(0.5)

    assert time.monotonic() - started < 4


def test_an_endpoint_that_refuses_is_away_as_well(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.answer = 403
    telemetry = opened(collector.url)

    telemetry.export(span())
    telemetry.close(5)

    assert telemetry.delivery.away and telemetry.delivery.lost == 1
    assert "does not take them" in caplog.text


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
