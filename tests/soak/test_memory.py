"""A million requests, good and bad ones, leave the memory of the server as it was."""

import json
import logging
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
PIPELINES: Final = {
    "plain": "model: digits-mlp\n",
    "threaded": "model: digits-mlp\nplacement: thread\n",
    "kept": "model: digits-mlp\ncache: {ttl_s: 60}\n",
}
HOT, COLD, CACHE_MB = 200, 20_000, 4
"""Half of the questions are among few, which are kept; the others among more than the cache can hold."""
LEAVES: Final = 499
"""Every so many requests a client leaves before it is answered."""

log = logging.getLogger(__name__)


def question(number: int) -> tuple[bytes, bytes]:
    """A request, and the beginning of the answer that it has to get."""
    name = list(PIPELINES)[number % 3]
    value = (number % HOT if number % 2 else number % COLD) / COLD
    path, headers, status, inputs = f"/api/v1/models/{name}/predict", "", "200", {"pixels": [value] * 64}
    if number % 50 == 1:
        inputs, status = {"pixels": [value] * 63}, "422"
    if number % 20 == 3:
        path += "?explain=1"
    if number % 100 == 7:
        headers = "X-Timeout-Ms: 20000\r\n"
    return posted(path, {"inputs": inputs}, headers), f"HTTP/1.1 {status} ".encode()


def posted(path: str, content: object, headers: str = "") -> bytes:
    body = json.dumps(content)
    return (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def answer(connection: socket.socket) -> bytes:
    """One whole answer."""
    data = connection.recv(65_536)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65_536)
    start = data.lower().index(b"content-length: ") + 16
    length = int(data[start : data.index(b"\r\n", start)])
    while len(data) < end + 4 + length:
        data += connection.recv(65_536)
    return data


def ask(port: int, numbers: range) -> Counter[bool]:
    """Ask one after another; how many answers were as they should be."""
    found: Counter[bool] = Counter()
    for lot in lots(numbers):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            for number in lot:
                asked, wanted = question(number)
                connection.sendall(asked)
                if number != lot[-1]:
                    found[answer(connection).startswith(wanted)] += 1
    return found


def lots(numbers: range) -> Iterator[range]:
    """*numbers* in parts, one for each connection."""
    for first in range(0, len(numbers), LEAVES):
        yield numbers[first : first + LEAVES]


@pytest.mark.soak
def test_a_million_requests_leave_the_memory_flat(tmp_path: Path) -> None:
    workspace = tmp_path / "digits"
    shutil.copytree(EXAMPLES / "digits", workspace)
    with (workspace / "config/main.yaml").open("a") as settings:
        settings.write(f"\ncache: {{memory_mb: {CACHE_MB}}}\n")
    for name, text in PIPELINES.items():
        (workspace / f"config/pipelines/{name}.yaml").write_text(text)

    with serving(workspace) as server, ThreadPoolExecutor(CLIENTS) as clients:

        def load(first: int, last: int) -> Counter[bool]:
            parts = [range(first + client, last, CLIENTS) for client in range(CLIENTS)]
            return sum(clients.map(ask, [server.port] * CLIENTS, parts), Counter())

        process = psutil.Process(server.process.pid)
        started, tenth = time.monotonic(), REQUESTS // 10
        found: Counter[bool] = Counter()
        used: list[int] = []
        for first in range(0, tenth * 10, tenth):
            found += load(first, first + tenth)
            used.append(process.memory_info().rss)
        took_s = time.monotonic() - started
        code = server.stop()

    shown = ", ".join(f"{size / 2**20:.1f}" for size in used)
    log.info("%d requests in %.0f s; MB in use after each tenth: %s", REQUESTS, took_s, shown)
    assert found[False] == 0
    assert found[True] > REQUESTS * (1 - 2 / LEAVES) - 2 * CLIENTS
    assert used[-1] - used[0] < GROWTH, shown
    assert code == 0
