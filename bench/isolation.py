"""What does a process of its own cost a model? One server, the medium model twice, one client; pairs in turn.

`python -m bench.isolation` asks the model in the server and the one in its own process in turn, over and over, and
prints the median latencies over HTTP, their ratio from pairs of the same round, and the cost of a call alone.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil

from bench.asking import Asking
from bench.comparing import Spread
from bench.load import LoadFailed
from bench.measuring import LOGS
from bench.running import free_port, running
from bench.servers import SERVERS
from bench.tables import with_spread
from bench.work import Work, work
from headrace.domain.model import ModelAdapter
from headrace.infra.isolation.model import load_isolated
from headrace.infra.runtimes import load_model

MOST = 1.3
CALLS = 300
A_TURN = 20
"""Requests that one is asked before it is the other's turn; the first of them warms caches up and does not count."""
WHERE = ("thread", "process")


def workspace(folder: Path, medium: Work) -> None:
    """A workspace with the model in the server, and in a process of its own."""
    (folder / "config" / "models").mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text("")
    (folder / "medium.onnx").symlink_to(medium.file)
    for where in WHERE:
        text = f"type: onnx\npath: medium.onnx\nisolation: {where}\nthreads: 1\n"
        (folder / "config" / "models" / f"{where}.yaml").write_text(text)


def over_http(medium: Work, rounds: int, turns: int) -> list[dict[str, float]]:
    """The median latency in ms of each, by round; within a round they are asked in turn, some requests each."""
    server = SERVERS["headrace"]
    asking = {where: Asking(server, Work(medium.name, where, medium.file, medium.rows, 1)) for where in WHERE}
    with tempfile.TemporaryDirectory() as folder:
        workspace(Path(folder), medium)
        port = free_port()
        command = [sys.executable, "-m", "headrace", "serve", "--port", str(port), "--grpc-port", str(free_port()),
                   "--config", f"{folder}/config/main.yaml"]  # fmt: skip
        start = (command, dict(os.environ), port, asking["thread"].question())  # the last to load
        with running(*start, log=LOGS / "isolation.log"), socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            requests = {where: _request(asking[where]) for where in WHERE}
            return [_round(client, requests, turns) for _ in range(rounds)]


def _round(client: socket.socket, requests: Mapping[str, bytes], turns: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {where: [] for where in WHERE}
    for turn in range(2 * turns):
        where = WHERE[turn % 2]
        taken[where] += [_asked(client, requests[where]) for _ in range(A_TURN)][1:]
    return {where: statistics.median(taken[where]) * 1e3 for where in WHERE}


def _asked(client: socket.socket, request: bytes) -> float:
    """The seconds until the answer to *request* was there, whole."""
    began = time.perf_counter()
    client.sendall(request)
    answer = client.recv(65_536)
    while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + _length(answer[:end]):
        answer += client.recv(65_536)
    taken = time.perf_counter() - began
    if not answer.startswith(b"HTTP/1.1 200"):
        raise LoadFailed(answer[:200].decode(errors="replace"))
    return taken


def _request(asking: Asking) -> bytes:
    body = asking.bodies()[0]
    fields = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **asking.server.door.headers(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {asking.server.path.format(model=asking.work.model)} HTTP/1.1\r\n{head}\r\n".encode() + body


def _length(head: bytes) -> int:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    return int(fields[b"content-length"])


def alone(medium: Work, rounds: int) -> list[dict[str, float]]:
    """The same for `predict` without a server, in microseconds."""
    config = {"name": "medium", "device": "cpu", "threads": 1}
    models: dict[str, ModelAdapter] = {"process": load_isolated("onnx", str(medium.file), config)}
    local = load_model("onnx", str(medium.file), config)
    assert isinstance(local, ModelAdapter)
    models["thread"] = local
    inputs = {"x": np.array(medium.rows[:1], dtype=np.float32)}
    try:
        return [{where: _typical_us(models[where], inputs) for where in WHERE} for _ in range(rounds)]
    finally:
        models["process"].close()


def _typical_us(model: ModelAdapter, inputs: dict[str, np.ndarray]) -> float:
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        model.predict(inputs)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when the goal holds, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="pairs")
    parser.add_argument("--turns", type=int, default=20, help="how often each of a pair is asked in a round")
    chosen = parser.parse_args(arguments)
    medium = work("medium")
    calls, pairs = alone(medium, chosen.rounds), over_http(medium, chosen.rounds, chosen.turns)
    ratio = Spread.of([pair["process"] / pair["thread"] for pair in pairs])
    assert ratio
    for where in WHERE:
        print(f"{where:8} over HTTP  {with_spread(Spread.of([pair[where] for pair in pairs]))} ms median latency")
        print(f"{where:8} call alone {with_spread(Spread.of([pair[where] for pair in calls]))} us")
    hop = Spread.of([pair["process"] - pair["thread"] for pair in calls])
    print(f"way to the process and back {with_spread(hop)} us")
    print(f"process / thread over HTTP  {with_spread(ratio)}   at most {MOST}")
    print(f"load average {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} processors")
    return int(ratio.median > MOST)


if __name__ == "__main__":
    sys.exit(main())
