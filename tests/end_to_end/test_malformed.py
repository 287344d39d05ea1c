"""Ten thousand requests that should not be: no fault, no hang, flat memory, and the next good one is answered.

`MALFORMED_REQUESTS` says how many, and `MALFORMED_SEED` which: with another seed they are other ones.
"""

import http.client
import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from .malformed import ROOT, ROW, TABULAR, Request, mutated, no_http, noise
from .servers import Server, serving

SEED: Final = int(os.environ.get("MALFORMED_SEED", "1"))
COUNT: Final = int(os.environ.get("MALFORMED_REQUESTS", "10000"))
HANG_S: Final = 10.0
"""No answer within this time is a hang; the machine may be busy with other tests."""
GROWTH_MB: Final = 48.0
ALLOWED = {"model_failure", "overloaded", "not_ready", "deadline_exceeded"}
"""The codes that may stand behind a status of 500 and above."""


@dataclass
class Attack:
    """Sends requests and looks at each answer."""

    server: Server
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._connection = self._connected()
        self._session = requests.Session()

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=HANG_S)

    def close(self) -> None:
        self._connection.close()
        self._session.close()

    def send(self, request: Request) -> None:
        headers = {"Content-Type": "application/json", **request.headers}
        began = time.perf_counter()
        try:
            self._connection.request(request.method, request.path, request.body, headers)
            answer = self._connection.getresponse()
            status, body = answer.status, answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # The server may end a kept connection; what it says to the request must be seen on a fresh one.
            self._connection.close()
            self._connection.request(request.method, request.path, request.body, headers)
            answer = self._connection.getresponse()
            status, body = answer.status, answer.read()
        if answer.will_close:
            self._connection.close()
        self._look(request, status, body, time.perf_counter() - began)

    def send_case(self, case: Any) -> None:
        began = time.perf_counter()
        answer = case.call(session=self._session, timeout=HANG_S)
        self._look(case, answer.status_code, answer.content, time.perf_counter() - began)

    def send_bytes(self, sent: bytes) -> None:
        """On a connection of its own. What is half a request may be waited for; the client's end must end it."""
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=HANG_S) as connection:
            answer = b""
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answer += part
            except ConnectionError:
                pass
        status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        self._look(sent, status, answer.partition(b"\r\n\r\n")[2], time.perf_counter() - began)

    def _look(self, request: Any, status: int, body: bytes, seconds: float) -> None:
        self.sent += 1
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status < 500:
            return
        try:
            told = json.loads(body)
            code = told["error"]["code"] if isinstance(told["error"], dict) else told["code"]
        except (ValueError, KeyError, TypeError):
            code = ""
        assert code in ALLOWED, f"{status} {body[:300]!r} to {request}"
        assert status != 500 or code == "model_failure", f"{status} {body[:300]!r} to {request}"


def many(strategy: st.SearchStrategy[Any], count: int, act: Callable[[Any], None]) -> None:
    """*act* on *count* examples of *strategy*; other ones for another count."""

    @seed(SEED * 1_000_003 + count)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate], print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def run(example: Any) -> None:
        act(example)

    run()


def from_the_schema(url: str) -> st.SearchStrategy[Any]:
    """Cases that the server's own OpenAPI document says are wrong, most of them for names that are there."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    calm = [one for one in operations if not one.label.endswith(("load", "/results", "/pause"))]
    return st.tuples(
        st.one_of([one.as_strategy(generation_mode=GenerationMode.NEGATIVE) for one in calm]),
        st.sampled_from(["tabular", "digits", "visits", None]),
    ).map(_named)


def _named(drawn: Any) -> Any:
    case, name = drawn
    if name is not None and case.path_parameters and "name" in case.path_parameters:
        case.path_parameters["name"] = name
    return case


def workspace(folder: Path) -> Path:
    shutil.copytree(ROOT / "examples" / "digits", folder, dirs_exist_ok=True)
    (folder / "config" / "pipelines" / "tabular.yaml").write_text(TABULAR)
    (folder / "config" / "streams").mkdir()
    (folder / "config" / "streams" / "visits.yaml").write_text("pipeline: tabular\nwindow: {max_ms: 20}\n")
    return folder


def resident_mb(server: Server) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / 2**20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what the tools of the test warn of is not ours
def test_ten_thousand_malformed_requests_change_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with serving(workspace(tmp_path)) as server:
        attack = Attack(server)
        cases = from_the_schema(server.url)
        for part in (0.1, 0.9):  # the first tenth brings everything into memory that stays there
            before = resident_mb(server)
            many(cases, int(COUNT * part * 0.25), attack.send_case)
            many(mutated(), int(COUNT * part * 0.6), attack.send)
            many(noise(), int(COUNT * part * 0.1), attack.send)
            many(no_http(), int(COUNT * part * 0.05), attack.send_bytes)
        growth = resident_mb(server) - before
        attack.close()

        good = requests.post(f"{server.url}/api/v1/models/tabular/predict", json={"inputs": ROW}, timeout=HANG_S)
        lag = requests.get(f"{server.url}/api/v1/streams/visits", timeout=HANG_S).json()["data"]["lag"]
        code = server.stop()
    log = server.log.read_text()

    record_property("measured", f"slowest {attack.slowest:.3f} s, {growth:+.1f} MB, {dict(attack.statuses)}")
    assert attack.sent >= COUNT * 0.98
    assert good.json()["data"]["outputs"]["visits"] == 3
    assert growth < GROWTH_MB
    assert attack.slowest < HANG_S
    assert lag == 0
    assert code == 0
    assert "a request failed" not in log
    assert "a stream ended" not in log
