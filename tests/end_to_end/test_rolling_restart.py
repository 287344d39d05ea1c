"""Do two servers behind a load balancer restart one after the other without a failed request?"""

import http.client
import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest
from tests.servers.haproxy import CHECK_MS, haproxy
from tests.servers.processes import program

from .servers import serving

REQUESTS: Final = int(os.environ.get("ROLLING_REQUESTS", "50000"))
CLIENTS: Final = 16
DELAY_S: Final = 20 * CHECK_MS / 1e3
"""How long a server that stops goes on accepting: many times as long as it takes HAProxy to notice."""
LIMIT_S: Final = 60.0
BODY: Final = json.dumps({"inputs": {"x": [1.0, 2.0]}}).encode()


def workspace(root: Path, workers: int) -> Path:
    files = {
        "config/main.yaml": f"api: {{workers: {workers}, grpc_port: 0, drain_delay_s: {DELAY_S}}}\n",
        "config/models/tiny.yaml": "type: echo\ninput_spec: [{name: x, shape: [-1, 2], dtype: float32}]\n"
        "output_spec: [{name: x, shape: [-1, 2], dtype: float32}]\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class Load:
    """Clients that keep their connections and count what they get."""

    def __init__(self, port: int) -> None:
        self.found: Counter[str] = Counter()
        self._port = port
        self._enough = threading.Event()
        self._given_up = False
        self._lock = threading.Lock()

    def end(self) -> None:
        """Let the clients end once the requests are asked."""
        self._enough.set()

    def give_up(self) -> None:
        """Let the clients end now."""
        self._given_up = True
        self._enough.set()

    def _goes_on(self) -> bool:
        return not (self._enough.is_set() and (self._given_up or self.found.total() >= REQUESTS))

    def ask(self, _: int) -> None:
        """Be a client until the load ends."""
        while self._goes_on():
            with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
                self._on(connection)

    def _on(self, connection: http.client.HTTPConnection) -> None:
        """Ask on one connection until the other side says that it ends."""
        while self._goes_on():
            try:
                connection.request("POST", "/api/v1/models/tiny/predict", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                right = answer.status == 200 and b'"outputs"' in answer.read()
                found = "right" if right else f"status {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                found = type(error).__name__
            with self._lock:
                self.found[found] += 1
            if found != "right" or answer.will_close:
                return


def test_the_example_for_haproxy_holds() -> None:
    file = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"

    checked = subprocess.run([program("haproxy"), "-c", "-f", file], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_rolling_restart_behind_a_load_balancer_fails_no_request(tmp_path: Path, workers: int) -> None:
    folders = [workspace(tmp_path / name, workers) for name in ("one", "two")]
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(folder)) for folder in folders]
        balancer = stack.enter_context(haproxy(tmp_path, [server.port for server in servers]))
        load = Load(balancer.port)
        stack.callback(load.give_up)
        clients = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        asking = [clients.submit(load.ask, number) for number in range(CLIENTS)]
        codes = []
        for _ in range(2):
            for number, folder in enumerate(folders):
                enough = load.found.total() + REQUESTS // 10
                eventually(lambda enough=enough: balancer.ups() == 2 and load.found.total() >= enough)  # type: ignore[misc]
                codes.append(servers[number].stop())
                servers[number] = stack.enter_context(serving(folder, port=servers[number].port))
        load.end()
        for one in asking:
            one.result()

    assert load.found.total() >= REQUESTS
    assert load.found == {"right": load.found.total()}
    assert codes == [0] * 4
