"""A workspace whose model a test holds in the middle of a call, from outside, and that writes down what it was asked.

The model is the counter: a row that is not among its calls never reached it.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from tests.end_to_end.servers import Server, serving
from tests.servers.ports import free_port

LIMIT_S: Final = 20.0
ALL: Final = 10**9

MODEL: Final = '''
"""A model that waits for a file to let it pass, and keeps a list of its calls."""

import time
from pathlib import Path

HERE = Path(__file__).parent


class Held:
    pure = True

    def __init__(self):
        self.calls = 0

    def predict(self, x):
        self.calls += 1
        with (HERE / "calls").open("a") as calls:
            print(*(round(float(value)) for value in x), file=calls)
        while self.calls > int((HERE / "passes").read_text() or 0):
            time.sleep(0.001)
        if min(x) < 0:
            raise ValueError("a row below zero")
        return x * 2
'''
PIPELINE: Final = """
model: {type: python, path: "models/held.py:Held",
        input_spec: [{name: x, shape: [-1]}], output_spec: [{name: y, shape: [-1]}]}
placement: thread
"""


@dataclass
class Held:
    """A server of the pipeline `held`, doubling x to y."""

    server: Server
    folder: Path
    grpc_port: int

    def hold(self) -> None:
        """Hold every call from the next one on."""
        self.let_pass(len(self.calls()))

    def let_pass(self, calls: int) -> None:
        """Let so many calls of the model, counted from its first, come to their end."""
        spare = self.folder / "spare"
        spare.write_text(str(calls))
        spare.replace(self.folder / "passes")

    def calls(self) -> list[list[int]]:
        """The rows of each call that the model got."""
        told = self.folder / "calls"
        return [[int(row) for row in line.split()] for line in told.read_text().splitlines()] if told.exists() else []

    def rows(self) -> list[int]:
        """Every row that the model ever got."""
        return [row for call in self.calls() for row in call]

    def wait_for_row(self, row: int) -> None:
        """Return once the model got *row*."""
        until(lambda: row in self.rows(), f"the model never got {row}; it got {self.rows()}")

    def measure(self, name: str) -> int:
        """The value of a gauge of this pipeline, as ``/metrics`` tells it."""
        with closing(self.connect()) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        line = next(line for line in text.splitlines() if line.startswith(f'{name}{{pipeline="held"'))
        return int(float(line.rsplit(" ", 1)[1]))

    def wait_for_queue(self, size: int) -> None:
        """Return once so many requests wait."""
        until(lambda: self.measure("headrace_queue_depth") == size, f"the queue never had {size}")

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.server.port, timeout=LIMIT_S)

    def ask(self, value: float, query: str = "", **headers: str) -> tuple[int, Any]:
        """The status and the answer of one native request."""
        with closing(self.connect()) as connection:
            send(connection, value, query, **headers)
            return received(connection)

    def asked(self, value: float) -> HTTPConnection:
        """A connection on which a request has been sent; close it to leave."""
        connection = self.connect()
        send(connection, value)
        return connection


def send(connection: HTTPConnection, value: float, query: str = "", **headers: str) -> None:
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    body = json.dumps({"pipeline": "held", "inputs": {"x": value}})
    connection.request("POST", f"/api/v1/inference{query}", body, given)


def received(connection: HTTPConnection) -> tuple[int, Any]:
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@contextmanager
def held(folder: Path, pipeline: str = "") -> Iterator[Held]:
    """The workspace in *folder*, served; *pipeline* is more of the pipeline's file."""
    grpc_port = free_port()
    for name, text in {
        "config/main.yaml": f"api: {{grpc_port: {grpc_port}}}\n",
        "config/pipelines/held.yaml": f"{PIPELINE}{pipeline}",
        "models/held.py": MODEL,
        "models/passes": str(ALL),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with serving(folder) as server:
        one = Held(server, folder / "models", grpc_port)
        try:
            yield one
        finally:
            one.let_pass(ALL)
        assert server.stop() == 0, server.log.read_text()


def until(condition: Callable[[], bool], failure: str) -> None:
    """Return once *condition* holds."""
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, failure
        time.sleep(0.002)
