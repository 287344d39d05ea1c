"""What a server remembers: over a restart, between servers, and when one is killed in the middle."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.servers import Server, serving
from tests.servers.postgresql import new_database, postgresql

INPUTS = "[{name: x, dtype: int64, shape: [-1]}]"
SLOW = '''
"""A model that says which process answered, once it is let go by a file."""

import os
import time
from pathlib import Path

from headrace import ModelAdapter
from headrace.domain.tensors import TensorSpec


class Slow(ModelAdapter):
    def load(self, model_path, config):
        pass

    def predict(self, inputs):
        if inputs["x"].any():  # not the warm-up
            with Path("calls").open("a") as calls:
                calls.write(f"{os.getpid()}\\n")
            while not Path("go").exists():
                time.sleep(0.01)
        return {"pid": inputs["x"] * 0 + os.getpid()}

    def get_input_spec(self):
        return {"x": TensorSpec("int64", (-1,))}

    def get_output_spec(self):
        return {"pid": TensorSpec("int64", (-1,))}

    def close(self):
        pass
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    pipelines = tmp_path / "config" / "pipelines"
    pipelines.mkdir(parents=True)
    (tmp_path / "config" / "routes").mkdir()
    (tmp_path / "config" / "main.yaml").write_text("api: {grpc_port: 0}\nmodels: {poll_s: 0.1}\n")
    for version in ("1", "2"):
        model = f"{{name: m{version}, type: echo, input_spec: {INPUTS}}}"
        (pipelines / f"shop{version}.yaml").write_text(f'name: shop\nversion: "{version}"\nmodel: {model}\n')
    (tmp_path / "config" / "routes" / "shop.yaml").write_text('default: "1"\n')
    return tmp_path


def ask(
    server: Server, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], Any]:
    request = urllib.request.Request(
        f"{server.url}/api/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", **(headers or {})},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def version(server: Server) -> str:
    answer = ask(server, "POST", "inference", {"pipeline": "shop", "inputs": {"x": 1}})
    found: str = answer[2]["data"]["version"]
    return found


def test_routes_and_answers_survive_a_kill_and_a_reset_brings_the_file_back(workspace: Path) -> None:
    body, key = {"pipeline": "shop", "inputs": {"x": 1}}, {"Idempotency-Key": "one"}
    with serving(workspace) as server:
        by_file = version(server)
        assert ask(server, "PUT", "routes/shop", {"default": "2"})[0] == 200
        first = ask(server, "POST", "inference", body, key)
        server.process.kill()
        server.process.wait()
    with serving(workspace) as server:
        set_before = version(server)
        second = ask(server, "POST", "inference", body, key)
        ask(server, "DELETE", "routes/shop")
        after = version(server)
        assert server.stop() == 0

    assert (by_file, set_before, after) == ("1", "2", "1")
    assert first[2] == second[2]
    assert second[1]["Idempotent-Replayed"] == "true"


def test_the_command_line_shows_sets_and_resets_routes(workspace: Path) -> None:
    def routes(*arguments: str) -> Any:
        command = [sys.executable, "-m", "headrace", "routes", *arguments, "--url", server.url, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    with serving(workspace) as server:
        listed = routes("show")
        changed = routes("set", "shop", "--alias", "new=2", "--split", "1=90", "--split", "new=10")
        shown = routes("show", "shop")
        cleared = routes("set", "shop", "--clear", "split", "--default", "new")
        reset = routes("reset", "shop")

    assert [(one["name"], one["source"], one["route"]["default"]) for one in listed] == [("shop", "file", "1")]
    assert shown == changed
    assert changed["route"] == {
        "default": "1", "aliases": {"new": "2"}, "split": {"1": 90.0, "new": 10.0},
        "sticky": None, "match": [], "shadow": None,
    }  # fmt: skip
    assert (cleared["route"]["split"], cleared["route"]["default"], cleared["route"]["aliases"]) == (
        {}, "new", {"new": "2"},
    )  # fmt: skip
    assert (reset["source"], reset["route"]["default"]) == ("file", "1")


def test_servers_that_share_a_file_answer_a_key_once_and_see_routes_of_each_other(workspace: Path) -> None:
    assert_shared(workspace)


@pytest.mark.slow
def test_servers_that_share_a_database_server_do_the_same(workspace: Path) -> None:
    with postgresql() as url:
        main = workspace / "config" / "main.yaml"
        main.write_text(f"{main.read_text()}state: {{url: '{new_database(url, 'shop')}'}}\n")
        assert_shared(workspace)


@pytest.mark.slow
def test_the_key_of_a_server_that_was_killed_is_answered_by_another(workspace: Path) -> None:
    add_slow_model(workspace)
    with serving(workspace) as one, serving(workspace) as other:
        lost = threading.Thread(target=ask_and_lose, args=(one,))
        lost.start()
        wait_for(workspace / "calls")
        one.process.kill()
        one.process.wait()
        lost.join()
        (workspace / "go").touch()

        status, headers, answer = ask(other, "POST", "models/slow/predict", {"inputs": {"x": 1}}, KEY)

    assert (status, headers.get("Idempotent-Replayed")) == (200, None)
    assert answer["data"]["outputs"]["pid"] == other.process.pid


def test_a_server_whose_state_is_unusable_serves_what_needs_none(workspace: Path) -> None:
    (workspace / "data").mkdir()
    (workspace / "data" / "headrace.db").write_bytes(b"no database" * 500)
    with serving(workspace) as server:
        served = version(server)
        refused = ask(server, "PUT", "routes/shop", {"default": "2"})
        [health] = ask(server, "GET", "databases/health")[2]["data"]
        log = server.log.read_text()

    assert served == "1"
    assert refused[0] in (502, 503)
    assert (health["name"], health["status"]) == ("state", "unavailable")
    assert health["message"] == refused[2]["error"]["message"]
    assert refused[2]["error"]["message"] == "the state database is no SQLite database, or a damaged one"
    assert "sqlite:///data/headrace.db" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_workers_of_one_server_answer_a_key_once_and_all_follow_a_route(workspace: Path) -> None:
    main = workspace / "config" / "main.yaml"
    main.write_text("api: {grpc_port: 0, workers: 2}\n")
    add_slow_model(workspace)
    with serving(workspace) as server:
        answers = ask_both(server, server, workspace)
        ask(server, "PUT", "routes/shop", {"default": "2"})
        wait_for_version(server, "2", times=20)

    assert [status for status, _, _ in answers] == [200] * 4
    assert len({answer["request_id"] for _, _, answer in answers}) == 1
    assert len((workspace / "calls").read_text().split()) == 1


KEY = {"Idempotency-Key": "shared"}


def assert_shared(workspace: Path) -> None:
    add_slow_model(workspace)
    with serving(workspace) as one, serving(workspace) as other:
        answers = ask_both(one, other, workspace)
        ask(one, "PUT", "routes/shop", {"default": "2"})
        wait_for_version(other, "2")

    assert [status for status, _, _ in answers] == [200] * 4
    assert len({answer["request_id"] for _, _, answer in answers}) == 1
    assert len((workspace / "calls").read_text().split()) == 1


def add_slow_model(workspace: Path) -> None:
    (workspace / "steps").mkdir()
    (workspace / "steps" / "slow.py").write_text(SLOW)
    models = workspace / "config" / "models"
    models.mkdir()
    (models / "slow.yaml").write_text("type: python\npath: steps/slow.py:Slow\n")


def ask_both(one: Server, other: Server, workspace: Path) -> list[tuple[int, Mapping[str, str], Any]]:
    """The same keyed request four times at once, by two servers."""
    answers: list[tuple[int, Mapping[str, str], Any]] = []

    def post(server: Server) -> None:
        answers.append(ask(server, "POST", "models/slow/predict", {"inputs": {"x": 1}}, KEY))

    threads = [threading.Thread(target=post, args=(server,)) for server in (one, other) * 2]
    for thread in threads:
        thread.start()
    wait_for(workspace / "calls")
    (workspace / "go").touch()
    for thread in threads:
        thread.join()
    return answers


def ask_and_lose(server: Server) -> None:
    with pytest.raises(OSError):
        ask(server, "POST", "models/slow/predict", {"inputs": {"x": 1}}, KEY)


def wait_for(file: Path) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if file.exists():
            return
        pause.wait(0.01)
    raise AssertionError(f"{file} was not written")


def wait_for_version(server: Server, wanted: str, times: int = 1) -> None:
    """Wait until *times* answers, one after the other, come from the version *wanted*."""
    pause, found = threading.Event(), 0
    for _ in range(1000):
        found = found + 1 if version(server) == wanted else 0
        if found == times:
            return
        pause.wait(0.01)
    raise AssertionError(f"the server does not answer with version {wanted}")
