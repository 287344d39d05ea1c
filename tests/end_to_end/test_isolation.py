"""Does a server live through the ends of its models' processes, and give back the memory of what it unloads?"""

import json
import logging
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.end_to_end.servers import Server, serving
from tests.infra import onnx_models

ROW = {"x": [1.0, 2.0, 3.0, 4.0]}
KILLS = 50
CYCLES = 100
PIPELINES = 20
GROWTH = 1.05

log = logging.getLogger(__name__)
"""What was measured: `pytest -o log_cli=true --log-cli-level=INFO` shows it."""


def reason_of(server: Server, model: str) -> str:
    """Why *model* does not answer, once that is known: the server is ready before it, as nobody requires it."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        [version] = call(server, f"/api/v1/models/{model}")[1]["data"]["versions"]
        if version["reason"] is not None:
            return str(version["reason"])
        time.sleep(0.01)
    raise AssertionError(f"nobody says why {model} does not answer")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "main.yaml").write_text("api: {drain_s: 5}\n")
    onnx_models.mlp(tmp_path / "net.onnx")
    declare(tmp_path, "apart", "isolation: process")
    return tmp_path


def declare(workspace: Path, name: str, more: str = "") -> None:
    (workspace / "config" / "models" / f"{name}.yaml").write_text(f"type: onnx\npath: net.onnx\n{more}\n")


def call(server: Server, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{server.url}{path}", data, {"Content-Type": "application/json"}, method="GET" if body is None else "POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def infer(server: Server, pipeline: str) -> tuple[int, Any]:
    return call(server, "/api/v1/inference", {"pipeline": pipeline, "inputs": ROW})


def process_of(server: Server) -> dict[str, Any]:
    _, told = call(server, "/api/v1/models/apart")
    process: dict[str, Any] = told["data"]["versions"][0]["runtime"]["processes"][0]
    return process


class Clients:
    """Threads that ask without a pause; what they got, by pipeline and status, and the slowest answer."""

    def __init__(self, server: Server) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        self.failures: list[Any] = []
        self.slowest_s: dict[str, float] = {}
        self._server = server
        self._stop = threading.Event()

    @contextmanager
    def asking(self, *pipelines: str) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(pipeline,)) for pipeline in pipelines]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, pipeline: str) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            status, answer = infer(self._server, pipeline)
            self.slowest_s[pipeline] = max(self.slowest_s.get(pipeline, 0.0), time.monotonic() - began)
            self.seen[pipeline, status] += 1
            if status != 200:
                self.failures.append(answer)


def wait_for(condition: Any, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def test_a_process_that_is_started_again_never_answers_with_another_model(workspace: Path) -> None:
    with serving(workspace) as server:
        before = infer(server, "apart")[1]["data"]["outputs"]
        onnx_models.mlp(workspace / "other.onnx", sizes=(4, 8, 3))
        (workspace / "other.onnx").replace(workspace / "net.onnx")
        still = infer(server, "apart")[1]["data"]["outputs"]
        os.kill(process_of(server)["pid"], signal.SIGKILL)
        refused: list[Any] = []

        def is_refused() -> bool:
            refused[:] = infer(server, "apart")
            return refused[0] != 200

        wait_for(is_refused)
        reloaded = call(server, "/api/v1/models/apart/reload", {})[0]
        after = infer(server, "apart")

    assert still == before
    assert refused[0] == 503
    assert refused[1]["error"]["code"] == "not_ready"
    assert "its artefact is not the one that was loaded any more; reload the model" in refused[1]["error"]["message"]
    assert (reloaded, after[0]) == (200, 200)
    assert after[1]["data"]["outputs"] != before


@pytest.mark.slow
def test_fifty_kills_of_a_models_process_under_load_cost_no_answer(workspace: Path) -> None:
    declare(workspace, "plain")
    with serving(workspace) as server:
        clients = Clients(server)
        with clients.asking("apart", "apart", "apart", "apart", "plain"):
            for _ in range(KILLS):
                answered = clients.seen["apart", 200]
                wait_for(lambda answered=answered: clients.seen["apart", 200] >= answered + 8)
                pid = process_of(server)["pid"]
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda pid=pid: process_of(server)["pid"] not in (pid, None))
                assert call(server, "/livez")[0] == 200
        told = process_of(server)
        log.info(f"answers {dict(clients.seen)}, slowest {clients.slowest_s}, restarts {told['restarts']}")

        assert clients.failures == []
        assert told["restarts"] >= KILLS
        assert told["last_cause"] == "killed by SIGKILL"
        assert clients.slowest_s["plain"] < 5.0
        assert zombies(server) == []


def tree(server: Server) -> list[psutil.Process]:
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def memory(server: Server) -> int:
    """Resident bytes of the server and its models' processes. Proportional ones change with the neighbours."""
    return sum(process.memory_info().rss for process in tree(server))


def zombies(server: Server) -> list[psutil.Process]:
    return [process for process in tree(server) if process.status() == psutil.STATUS_ZOMBIE]


def cycle(server: Server, name: str) -> None:
    """Load, infer, unload."""
    assert call(server, f"/api/v1/models/{name}/load", {})[0] == 200
    status, answer = infer(server, name)
    assert status == 200, answer
    assert call(server, f"/api/v1/models/{name}/unload", {})[0] == 200


@pytest.mark.slow
def test_a_hundred_cycles_of_an_isolated_model_end_where_they_began(workspace: Path) -> None:
    with serving(workspace) as server:
        shared = set(Path("/dev/shm").iterdir())
        assert call(server, "/api/v1/models/apart/unload", {})[0] == 200
        for _ in range(10):
            cycle(server, "apart")
        wait_for(lambda: len(tree(server)) == 1)
        before, files = memory(server), psutil.Process(server.process.pid).num_fds()

        for _ in range(CYCLES):
            cycle(server, "apart")

        wait_for(lambda: len(tree(server)) == 1)
        after = memory(server)
        log.info(f"memory of the tree before {before / 1e6:.1f} MB, after {CYCLES} cycles {after / 1e6:.1f} MB")
        assert after <= before * GROWTH
        assert psutil.Process(server.process.pid).num_fds() <= files
        assert set(Path("/dev/shm").iterdir()) <= shared


@pytest.mark.slow
def test_twenty_pipelines_in_turn_end_where_they_began(workspace: Path) -> None:
    (workspace / "config" / "models" / "apart.yaml").unlink()
    names = [f"net{number}" for number in range(PIPELINES)]
    for name in names:
        declare(workspace, name)
    with serving(workspace) as server:
        for name in names:
            assert call(server, f"/api/v1/models/{name}/unload", {})[0] == 200
        for name in names[:10]:
            cycle(server, name)
        before = memory(server)

        for _ in range(5):
            for name in names:
                cycle(server, name)

        after = memory(server)
        log.info(f"memory before {before / 1e6:.1f} MB, after {5 * PIPELINES} cycles {after / 1e6:.1f} MB")
        assert after <= before * GROWTH


def test_a_server_that_stops_takes_its_models_processes_with_it(workspace: Path) -> None:
    with serving(workspace) as server:
        assert infer(server, "apart")[0] == 200
        child = psutil.Process(process_of(server)["pid"])

        assert server.stop() == 0

        assert not child.is_running()


def test_a_model_that_cannot_load_in_its_process_leaves_the_others_serving(workspace: Path) -> None:
    (workspace / "net.py").write_text("import os\nos._exit(3)\npredict = None\n")
    (workspace / "config" / "models" / "broken.yaml").write_text(
        "type: python\npath: net.py:predict\nisolation: process\ninput_spec: [{name: x}]\noutput_spec: [{name: y}]\n"
    )
    (workspace / "config" / "pipelines").mkdir()
    (workspace / "config" / "pipelines" / "broken.yaml").write_text("model: broken\nrequired: false\n")
    with serving(workspace) as server:
        assert infer(server, "apart")[0] == 200
        status, told = infer(server, "broken")
        reason = reason_of(server, "broken")

    assert status in (404, 503), told
    assert "exit code 3" in reason


def test_models_that_hang_in_their_processes_hold_up_nobody_else(workspace: Path) -> None:
    (workspace / "net.py").write_text(
        "import time\n\ndef predict(x):\n    if x[0][0] == 1:\n        time.sleep(600)\n    return {'y': x}\n"
    )
    names = [f"hangs{number}" for number in range((os.cpu_count() or 1) + 1)]
    for name in names:
        (workspace / "config" / "models" / f"{name}.yaml").write_text(
            "type: python\npath: net.py:predict\nisolation: process\nprocess: {predict_timeout_s: 3}\n"
            "input_spec: [{name: x, shape: [-1, 4]}]\noutput_spec: [{name: y, shape: [-1, 4]}]\n"
        )
    with serving(workspace) as server, ThreadPoolExecutor(len(names)) as threads:
        hanging = [threads.submit(infer, server, name) for name in names]
        answered = 0
        while not any(one.done() for one in hanging):
            assert infer(server, "apart")[0] == 200
            answered += 1
        told = [one.result() for one in hanging]

    assert answered > 10
    for name, (status, answer) in zip(names, told, strict=True):
        assert status == 500
        assert answer["error"]["code"] == "model_failure"
        assert f"model '{name}': its process died: it gave no answer within 3 s" in answer["error"]["message"]
