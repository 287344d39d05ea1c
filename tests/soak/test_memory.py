"""A million requests leave the memory of the server as it was."""

import http.client
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil
import pytest
from tests.end_to_end.servers import serving

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUESTS: Final = int(os.environ.get("SOAK_REQUESTS", "1000000"))
CLIENTS: Final = 8
GROWTH: Final = 8 * 1024 * 1024
"""Bytes that may be added after the first tenth; a leak of ten bytes a request would show."""
BODY: Final = json.dumps(
    {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}]}
).encode()


def ask(port: int, times: int) -> int:
    """Ask *times* on one connection; how many answers were right."""
    right = 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for _ in range(times):
            connection.request("POST", "/v2/models/digits-mlp/infer", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            right += answer.status == 200 and b'"outputs"' in answer.read()
    return right


@pytest.mark.soak
def test_a_million_requests_leave_the_memory_flat(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "digits", tmp_path / "digits")

    with serving(tmp_path / "digits") as server, ThreadPoolExecutor(CLIENTS) as clients:

        def load(requests: int) -> int:
            return sum(clients.map(ask, [server.port] * CLIENTS, [requests // CLIENTS] * CLIENTS))

        process = psutil.Process(server.process.pid)
        right = load(REQUESTS // 10)
        before = process.memory_info().rss
        right += load(REQUESTS - REQUESTS // 10)
        after = process.memory_info().rss
        code = server.stop()

    assert right >= REQUESTS - 2 * CLIENTS
    assert after - before < GROWTH, f"grew by {(after - before) / 2**20:.1f} MB"
    assert code == 0
