"""Clients that hold sockets open and send a byte a second cost the others nothing."""

import json
import logging
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.end_to_end.servers import Server, serving

pytestmark = pytest.mark.slow
SLOW, CLIENTS, ROUNDS, ROUND_S = 10, 8, 9, 0.4
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]})
PATH = "/v2/models/double/infer"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
MODEL = """
model: {type: python, path: "models/code.py:double",
        input_spec: [{name: x, shape: [-1]}], output_spec: [{name: y, shape: [-1]}]}
"""

log = logging.getLogger(__name__)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for name, text in {
        "config/main.yaml": "",
        "models/code.py": "def double(x):\n    return x * 2\n",
        "config/pipelines/double.yaml": MODEL,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with serving(tmp_path) as one:
        yield one


def latencies(port: int, until: float) -> list[float]:
    """The seconds of each answer that one client gets until then."""
    took: list[float] = []
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        while (started := time.perf_counter()) < until:
            connection.request("POST", PATH, BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            took.append(time.perf_counter() - started)
    return took


@contextmanager
def slow_clients(port: int) -> Iterator[None]:
    """Half of them are slow in the middle of the headers, half in the middle of the body; a byte a second each."""
    over = threading.Event()

    def trickle(connection: socket.socket, text: bytes) -> None:
        for place in range(len(text)):
            connection.sendall(text[place : place + 1])
            if over.wait(1.0):
                return

    with ExitStack() as stack, ThreadPoolExecutor(SLOW) as threads:
        for number in range(SLOW):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sent = HEAD.encode() if number % 2 else HEAD.encode()[:20]
            connection.sendall(sent)
            threads.submit(trickle, connection, (HEAD + BODY).encode()[len(sent) :])
        try:
            yield
        finally:
            over.set()


def one_round(server: Server, clients: ThreadPoolExecutor) -> tuple[float, float]:
    """Answers a second, and their 95th percentile in milliseconds."""
    until = time.perf_counter() + ROUND_S
    took = sorted(one for lot in clients.map(latencies, [server.port] * CLIENTS, [until] * CLIENTS) for one in lot)
    return len(took) / ROUND_S, took[len(took) * 95 // 100] * 1e3


def test_clients_that_send_a_byte_a_second_do_not_slow_the_others(server: Server) -> None:
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    with ThreadPoolExecutor(CLIENTS) as clients:
        one_round(server, clients)
        for _ in range(ROUNDS):  # in turn, so that both meet the same neighbours on this machine
            alone.append(one_round(server, clients))
            with slow_clients(server.port):
                beside.append(one_round(server, clients))

    rates, waits = zip(
        *((statistics.median(each) for each in zip(*rounds, strict=True)) for rounds in (alone, beside)), strict=True
    )
    log.info("answers a second %.0f, beside slow clients %.0f; p95 %.2f ms and %.2f ms", *rates, *waits)
    assert rates[1] > 0.7 * rates[0]
    assert waits[1] < 2 * waits[0] + 5
