"""Does a delivery of traces arrive after all, and what is said when it does not?"""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.otlp import Collector, collecting
from tests.servers.ports import free_port

from headrace.core.telemetry import Sort, Span, TraceContext
from headrace.infra.telemetry import delivery as module
from headrace.infra.telemetry.delivery import Delivery
from headrace.infra.telemetry.otlp_spans import Encoder


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries that need not be waited for."""
    monkeypatch.setattr(module, "PAUSES_S", (0.01, 0.01, 0.01))


def body() -> bytes:
    encoder = Encoder({"service.name": "shop"})
    written: list[bytes] = []
    encoder.write(written, [Span(Sort("batch"), TraceContext(7, 1), None, 10, 20)])
    return encoder.delivery(written)


def opened(url: str) -> Delivery:
    return Delivery(f"{url}/v1/traces", {"authorization": "Bearer secret"})


@pytest.mark.usefixtures("hasty")
def test_an_endpoint_that_is_away_is_told_once_and_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    delivery = opened(f"http://127.0.0.1:{port}")

    for _ in range(3):
        delivery.deliver(body(), 1)
    away = [record.message for record in caplog.records]
    with collecting(port) as collector:
        delivery.deliver(body(), 1)
        delivery.deliver(body(), 1)

    told = [record.message for record in caplog.records]
    assert len(away) == 1 and "does not take them" in away[0]
    assert len(told) == 2 and "sent again" in told[1]
    assert (delivery.lost, delivery.sent) == (3, 2) == (3, len(collector.spans))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_endpoint_that_is_busy_for_a_moment_is_asked_again(collector: Collector, status: int) -> None:
    collector.refusals = [status, status]
    delivery = opened(collector.url)

    delivery.deliver(body(), 1)

    assert (delivery.sent, delivery.lost, delivery.away) == (1, 0, False)
    assert collector.tries == 3


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("status", [302, 400, 403, 404, 500])
def test_an_endpoint_that_refuses_is_not_asked_twice(
    collector: Collector, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    collector.answer = status
    delivery = opened(collector.url)

    delivery.deliver(body(), 1)

    assert delivery.away and delivery.lost == 1 and collector.tries == 1
    assert "does not take them" in caplog.text


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("asked_for", "tries"), [("0", 2), ("Wed, 21 Oct 2026 07:28:00 GMT", 2), ("60", 1)])
def test_an_endpoint_may_say_when_to_come_back_unless_that_is_too_late(
    collector: Collector, asked_for: str, tries: int
) -> None:
    collector.refusals, collector.retry_after = [503], asked_for
    delivery = opened(collector.url)

    delivery.deliver(body(), 1)

    assert collector.tries == tries and delivery.away == (tries == 1)


def test_a_try_that_waits_for_the_next_one_ends_when_all_is_to_end(collector: Collector) -> None:
    collector.answer = 503
    delivery = opened(collector.url)
    sender = threading.Thread(target=delivery.deliver, args=(body(), 1))
    started = time.monotonic()

    sender.start()
    delivery.hurry()
    sender.join()

    assert time.monotonic() - started < module.PAUSES_S[0] + 0.4
    assert delivery.lost == 1


def test_nothing_is_sent_after_the_end(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    delivery = opened(collector.url)
    delivery.give_up()

    delivery.deliver(body(), 1)

    assert collector.tries == 0 and delivery.lost == 1
    assert caplog.text == ""


def test_the_headers_are_those_of_the_settings_whatever_the_machine_knows(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    opened(collector.url).deliver(body(), 1)

    assert collector.headers["authorization"] == "Bearer secret"
    assert collector.headers["content-type"] == "application/x-protobuf"
