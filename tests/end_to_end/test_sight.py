"""What does a server in a process of its own tell: to a collector, in its log, and when nobody collects?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.servers.otlp import collecting
from tests.servers.ports import free_port

from .servers import Server, serving

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
MODEL = """\
type: echo
input_spec: [{name: x, shape: [-1, 1], dtype: float32}]
output_spec: [{name: x, shape: [-1, 1], dtype: float32}]
"""

pytestmark = pytest.mark.slow


def lay_out(folder: Path, main: str) -> Path:
    (folder / "config" / "models").mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text(main)
    (folder / "config" / "models" / "mirror.yaml").write_text(MODEL)
    return folder


def ask(server: Server, value: Any = 1.0, **headers: str) -> httpx2.Response:
    url = f"{server.url}/api/v1/models/mirror/predict"
    return httpx2.post(url, json={"inputs": {"x": [value]}}, headers=headers, timeout=10)


def lines(server: Server) -> Iterator[dict[str, Any]]:
    for line in server.log.read_text().splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def test_a_line_of_json_and_a_trace_tell_of_the_same_request(tmp_path: Path) -> None:
    with collecting() as collector:
        main = (
            f"telemetry: {{otlp_endpoint: '{collector.url}', sample: 0, price_per_device_s: {{cpu: 0.5}}}}\n"
            "logging: {format: json, requests: all}\n"
        )
        with serving(lay_out(tmp_path, main)) as server:
            assert ask(server, traceparent=CALLER, **{"x-request-id": "mine-1"}).status_code == 200
            assert ask(server, "a", **{"x-request-id": "mine-2"}).status_code == 422
            assert server.stop() == 0
        spans = collector.wait_for(5)

    told = {line["request_id"]: line for line in lines(server) if line["event"] == "request"}
    good, bad = told["mine-1"], told["mine-2"]
    assert (good["pipeline"], good["version"], good["code"], good["door"]) == ("mirror", "1", "ok", "http")
    assert good["ms"] > 0 and good["cost"] > 0 and good["currency"] == "USD" and good["trace_id"] == TRACE
    assert bad["code"] == "invalid_input" and "wants float32" in bad["error"] and "trace_id" not in bad
    [whole] = [span for span in spans if span.name == "infer mirror"]
    assert whole.trace_id == TRACE and whole.attributes["headrace.request_id"] == "mine-1"
    assert whole.attributes["headrace.cost"] == good["cost"]
    assert whole.resource["service.name"] == "Headrace"


def test_a_collector_that_is_away_is_told_once_and_service_goes_on(tmp_path: Path) -> None:
    port = free_port()
    main = f"telemetry: {{otlp_endpoint: 'http://127.0.0.1:{port}', sample: 1}}\nlogging: {{format: json}}\n"

    with serving(lay_out(tmp_path, main)) as server:
        for _ in range(20):
            assert ask(server).status_code == 200
        assert server.stop() == 0

    told = [line for line in lines(server) if "OTLP" in line["event"]]
    assert len(told) == 1
    assert told[0]["level"] == "warning" and told[0]["endpoint"] == f"http://127.0.0.1:{port}/v1/traces"
    assert "Traceback" not in server.log.read_text()


def test_requests_are_not_logged_unless_somebody_asks_for_it(tmp_path: Path) -> None:
    with serving(lay_out(tmp_path, "logging: {format: json}\n")) as server:
        ask(server)
        ask(server, "a")
        server.stop()

    assert [line for line in lines(server) if line["event"] == "request"] == []
