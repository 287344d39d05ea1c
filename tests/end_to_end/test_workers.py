"""Do several processes behind one port act as one server?"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx2
import psutil
import pytest
from tests.servers.ports import free_port

from headrace.adapters.grpc.generated import open_inference_pb2

from .servers import Server, serving

pytestmark = pytest.mark.slow

MODEL = """
import os
import time


def predict(seconds):
    time.sleep(0.003 + float(seconds[0]))  # long enough to be given a thread of its own
    return {"pid": [os.getpid()] * len(seconds)}
"""
SPEC = """
type: python
path: models/who.py:predict
input_spec:  [{name: seconds, shape: [-1], dtype: float64}]
output_spec: [{name: pid, shape: [-1], dtype: int64}]
"""
THREADS = """
import os


class Threads:
    concurrent = True

    def predict(self, inputs):
        return {"threads": [int(os.environ["OMP_NUM_THREADS"])] * len(inputs["seconds"])}
"""
AT_ONCE = {"inputs": {"seconds": 0.0}}
PREDICT = "/api/v1/models/who/predict"


def written(root: Path, api: str = "{workers: 2, grpc_port: 0, drain_s: 10}") -> Path:
    """A workspace whose model tells the process that it runs in."""
    files = {
        "config/main.yaml": f"api: {api}\n",
        "config/models/who.yaml": SPEC,
        "models/who.py": MODEL,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def ask(server: Server, seconds: float = 0.0) -> "httpx2.Response":
    """One request on a connection of its own, which any worker may take."""
    return httpx2.post(f"{server.url}{PREDICT}", json={"inputs": {"seconds": seconds}}, timeout=30)


def answers_of_all(server: Server, path: str, **sent: object) -> "dict[int, httpx2.Response]":
    """What each worker answers to the same request: connections are opened until everybody had one."""
    workers = workers_of(server)
    found: dict[int, httpx2.Response] = {}
    until = time.monotonic() + 20
    while set(found) != set(workers):
        assert time.monotonic() < until, f"only {list(found)} of {workers} answer"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            port = connection.getsockname()[1]
            taker = next((pid for pid in workers if port in peers_of(pid, server.port)), None)
            if taker is not None:
                found[taker] = exchanged(connection, path, **sent)
    return found


def peers_of(pid: int, port: int) -> set[int]:
    return {
        found.raddr.port for found in psutil.Process(pid).net_connections() if found.raddr and found.laddr.port == port
    }


def exchanged(connection: socket.socket, path: str, method: str = "GET", body: object = None) -> "httpx2.Response":
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\n"
    connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(content) + content)
    received = b""
    while part := connection.recv(65536):
        received += part
    head_received, _, rest = received.partition(b"\r\n\r\n")
    return httpx2.Response(int(head_received.split()[1]), content=rest)


def workers_of(server: Server) -> list[int]:
    return [child.pid for child in psutil.Process(server.process.pid).children()]


def eventually(holds: Callable[[], bool], limit_s: float = 20.0) -> float:
    """Wait until something holds, and tell how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + limit_s
        time.sleep(0.02)
    return time.monotonic() - began


def number(server: Server, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = httpx2.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def ready_workers(server: Server) -> bool:
    return 'headrace_workers{state="ready"} 2.0' in httpx2.get(f"{server.url}/metrics").text


def test_all_workers_answer_on_one_port_and_say_once_that_they_are_ready(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        pids = {
            pid: answer.json() for pid, answer in answers_of_all(server, PREDICT, method="POST", body=AT_ONCE).items()
        }
        health = httpx2.get(f"{server.url}/api/v1/health").json()["data"]
        code = server.stop()

    assert len(pids) == 2
    assert all(answer["data"]["outputs"]["pid"] == pid for pid, answer in pids.items())
    assert (health["status"], health["workers"], health["cache_per_worker"]) == ("ready", 2, True)
    assert code == 0
    assert server.log.read_text().count("ready  ") == 1


def test_what_is_unloaded_and_loaded_at_one_is_so_at_all(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        httpx2.post(f"{server.url}/api/v1/models/who/unload")
        began = time.monotonic()
        gone = answers_of_all(server, PREDICT, method="POST", body=AT_ONCE)
        took = time.monotonic() - began
        httpx2.post(f"{server.url}/api/v1/models/who/load").raise_for_status()
        back = answers_of_all(server, PREDICT, method="POST", body=AT_ONCE)

    assert {answer.status_code for answer in gone.values()} == {503}
    assert {answer.status_code for answer in back.values()} == {200}
    assert took < 1


def test_a_route_that_is_set_at_one_holds_at_all(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        body = {"aliases": {"stable": "1"}}
        httpx2.put(f"{server.url}/api/v1/routes/who", json=body).raise_for_status()
        eventually(
            lambda: (
                len(routed := answers_of_all(server, "/api/v1/models/who/versions/stable")) == 2
                and {answer.status_code for answer in routed.values()} == {200}
            ),
            1.0,
        )


def test_a_worker_that_comes_later_knows_what_was_unloaded(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        httpx2.post(f"{server.url}/api/v1/models/who/unload").raise_for_status()
        os.kill(workers_of(server)[0], signal.SIGKILL)
        eventually(lambda: number(server, "headrace_worker_restarts_total") > 0 and ready_workers(server))
        gone = answers_of_all(server, PREDICT, method="POST", body=AT_ONCE)

    assert {answer.status_code for answer in gone.values()} == {503}


def test_numbers_of_all_add_up_and_never_fall_when_one_dies(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        for _ in range(20):
            ask(server)
        seen = [number(server, "headrace_requests_total") for _ in range(6)]
        os.kill(workers_of(server)[1], signal.SIGKILL)

        def restarted() -> bool:
            seen.append(number(server, "headrace_requests_total"))
            return number(server, "headrace_worker_restarts_total") > 0 and ready_workers(server)

        eventually(restarted)
        restarts = httpx2.get(f"{server.url}/metrics").text

    assert seen[:6] == [20.0] * 6
    assert min(seen) == 20.0
    assert 'headrace_worker_restarts_total{cause="SIGKILL"} 1.0' in restarts


def test_statistics_are_those_of_all_at_each_and_through_every_door(tmp_path: Path) -> None:
    grpc_port = free_port()
    path = "/v2/models/who/versions/1/stats"
    asked = open_inference_pb2.ModelStatisticsRequest(name="who", version="1")
    with serving(written(tmp_path, f"{{workers: 2, grpc_port: {grpc_port}}}")) as server:
        answers_of_all(server, PREDICT, method="POST", body=AT_ONCE)
        answered = number(server, "headrace_requests_total")
        told = [answer.json()["model_stats"] for answer in answers_of_all(server, path).values()]
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            call = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelStatistics",
                request_serializer=open_inference_pb2.ModelStatisticsRequest.SerializeToString,
                response_deserializer=open_inference_pb2.ModelStatisticsResponse.FromString,
            )
            (by_grpc,) = call(asked, timeout=10).model_stats
        os.kill(workers_of(server)[0], signal.SIGKILL)
        eventually(lambda: number(server, "headrace_worker_restarts_total") > 0 and ready_workers(server))
        later = [answer.json()["model_stats"] for answer in answers_of_all(server, path).values()]

    everything = [(one["inference_stats"]["success"]["count"], one["inference_count"]) for (one,) in [*told, *later]]
    assert everything == [(answered, answered)] * 4
    assert by_grpc.inference_stats.success.count == by_grpc.inference_count == answered
    assert [(size.batch_size, size.compute_infer.count) for size in by_grpc.batch_stats] == [(1, answered)]


def test_workers_share_the_processors_out(tmp_path: Path) -> None:
    workspace = written(tmp_path, "{workers: 2, grpc_port: 0}")
    (workspace / "models/who.py").write_text(THREADS)
    spec = SPEC.replace("who.py:predict", "who.py:Threads").replace("pid", "threads")
    (workspace / "config/models/who.yaml").write_text(spec)
    each = max(1, len(os.sched_getaffinity(0)) // 2)
    with serving(workspace) as server:
        told = httpx2.get(f"{server.url}/api/v1/models/who").json()["data"]["versions"][0]["placement"]
        answer = httpx2.post(f"{server.url}{PREDICT}", json=AT_ONCE).json()

    assert told["instances"] == each
    assert answer["data"]["outputs"]["threads"] == each


def test_when_a_worker_is_killed_under_load_the_others_go_on(tmp_path: Path) -> None:
    ends = time.monotonic() + 60
    killed = 0.0

    def keep_asking(_: int) -> tuple[int, int]:
        right = broken = 0
        while right < 400 or time.monotonic() < killed + 3:
            assert time.monotonic() < ends
            try:
                with httpx2.Client(base_url=server.url, timeout=10) as client:
                    while right < 400 or time.monotonic() < killed + 3:
                        right += client.post(PREDICT, json=AT_ONCE).status_code == 200
            except httpx2.HTTPError:
                broken += 1
        return right, broken

    with serving(written(tmp_path)) as server, ThreadPoolExecutor(8) as clients:
        loads = [clients.submit(keep_asking, client) for client in range(8)]
        eventually(lambda: number(server, "headrace_requests_total") > 400)
        killed = time.monotonic()
        os.kill(workers_of(server)[0], signal.SIGKILL)
        found = [load.result() for load in loads]
        eventually(lambda: ready_workers(server))
        code = server.stop()

    assert all(broken <= 1 for _, broken in found), found  # the connections of the dead one break, and no other
    assert code == 0
    assert "cause=SIGKILL" in server.log.read_text()


def test_stopping_answers_what_was_accepted_and_leaves_no_process(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server, ThreadPoolExecutor(4) as clients:
        workers = workers_of(server)
        waiting = [clients.submit(ask, server, 1.0) for _ in range(4)]
        eventually(lambda: number(server, "headrace_in_flight") == 4)
        code = server.stop()
        statuses = [answer.result().status_code for answer in waiting]

    assert statuses == [200] * 4
    assert code == 0
    assert not any(psutil.pid_exists(pid) for pid in workers)
    assert "unanswered" not in server.log.read_text()


def test_what_is_cut_off_is_reported_in_one_sum_and_the_end_comes_in_time(tmp_path: Path) -> None:
    workspace = written(tmp_path, "{workers: 2, grpc_port: 0, drain_s: 0.5, drain_delay_s: 0.2}")
    with serving(workspace) as server, ThreadPoolExecutor(4) as clients:
        waiting = [clients.submit(ask, server, 4.0) for _ in range(4)]
        eventually(lambda: number(server, "headrace_in_flight") == 4)
        began = time.monotonic()
        code = server.stop()
        took = time.monotonic() - began
        answers = [answer.result() for answer in waiting]

    assert {answer.json()["error"]["code"] for answer in answers} == {"not_ready"}
    assert code == 0
    assert "cut=4" in server.log.read_text()
    assert took < 8  # the models' threads, which nobody can stop, are waited for a while too


def test_workers_stop_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with serving(written(tmp_path)) as server:
        workers = workers_of(server)
        server.process.kill()
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in workers))


def started(workspace: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "headrace", "serve", "--workers", "2", *options]
    return subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=60, check=False)


def test_a_mistake_in_the_configuration_ends_the_start_once(tmp_path: Path) -> None:
    workspace = written(tmp_path)
    (workspace / "config/models/who.yaml").write_text(SPEC.replace("python", "pyhton"))

    ended = started(workspace, "--port", str(free_port()))

    assert ended.returncode == 2
    assert ended.stderr.count("did you mean 'python'?") == 1
    assert "Traceback" not in ended.stderr


def test_a_model_that_ends_its_process_at_load_ends_the_start(tmp_path: Path) -> None:
    workspace = written(tmp_path)
    (workspace / "models/who.py").write_text(f"import os\nos._exit(7)\n{MODEL}")

    ended = started(workspace, "--port", str(free_port()))

    assert ended.returncode == 1
    assert "ended by exit code 7" in ended.stderr


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_in_use_is_named(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        options = {"--port": str(free_port()), "--grpc-port": "0", option: port}

        ended = started(written(tmp_path), *(word for pair in options.items() for word in pair))

    assert ended.returncode == 2
    assert f"port {port}: Address already in use" in ended.stderr


def test_a_stream_in_memory_is_refused_with_several_workers(tmp_path: Path) -> None:
    workspace = written(tmp_path, "{workers: 1}")
    (workspace / "config/streams").mkdir()
    (workspace / "config/streams/events.yaml").write_text("pipeline: who\n")

    ended = started(workspace, "--port", str(free_port()), "--grpc-port", "0")

    assert ended.returncode == 2
    assert "events.yaml:1: broker: " in ended.stderr


def test_a_random_token_is_printed_once_and_opens_all_workers(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "headrace", "serve", "--host", "0.0.0.0", "--port", str(port)]
    with subprocess.Popen(command, cwd=written(tmp_path), stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        headers = {"Authorization": "Bearer " + line.rpartition(": ")[2].strip()}
        server = Server(port, process, tmp_path / "none")
        eventually(lambda: _status(f"{server.url}/readyz") == 200)
        answers = [httpx2.get(f"{server.url}/api/v1/models", headers=headers).status_code for _ in range(10)]
        without = httpx2.get(f"{server.url}/api/v1/models").status_code
        process.terminate()
        rest = process.stderr.read().decode()

    assert "asks for a token" in line
    assert answers == [200] * 10
    assert without == 401
    assert "asks for a token" not in rest


def _status(url: str) -> int:
    try:
        return httpx2.get(url).status_code
    except httpx2.TransportError:
        return 0
