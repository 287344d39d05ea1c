"""Kept answers over HTTP and gRPC: equal requests run once, what changes the answer changes it, and Redis may go."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
from tests.end_to_end.servers import Server, serving
from tests.servers.ports import free_port
from tests.servers.redis import RedisServer

from headrace.adapters.grpc.generated import open_inference_pb2 as messages

MODEL = """
import time
import numpy as np

class Counting:
    def __init__(self):
        self.rows = 0

    def predict(self, x):
        time.sleep(0.1)  # its work
        self.rows += len(x)
        return {"y": np.asarray(x) * 2, "rows": np.full(len(x), self.rows, "int64")}
"""
COLUMNS = """
input_spec: [{name: x, shape: [-1, 2], dtype: float32}]
output_spec: [{name: y, shape: [-1, 2], dtype: float32}, {name: rows, shape: [-1], dtype: int64}]
"""
VECTORS = """
import numpy as np

def predict(text):
    return {"embedding": np.array([[len(one), 1.0] for one in text], "float32")}
"""
VECTOR_COLUMNS = """
input_spec: [{name: text, shape: [-1], dtype: string}]
output_spec: [{name: embedding, shape: [-1, 2], dtype: float32}]
"""


def lay_out(folder: Path, main: str = "{}") -> Path:
    """Pipelines `kept` and `also` with a cache and `plain` without, each with a model of its own that counts."""
    for part in ("config/models", "config/pipelines", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "config/main.yaml").write_text(main)
    (folder / "models/counting.py").write_text(MODEL)
    (folder / "models/vectors.py").write_text(VECTORS)
    for name in ("kept", "also", "plain"):
        (folder / f"config/models/{name}-model.yaml").write_text(
            f"type: python\npath: models/counting.py:Counting\n{COLUMNS}"
        )
        cache = "" if name == "plain" else "cache: {ttl_s: 600}\n"
        (folder / f"config/pipelines/{name}.yaml").write_text(f"model: {name}-model\n{cache}")
    (folder / "config/models/vectors-model.yaml").write_text(
        f"type: python\npath: models/vectors.py:predict\n{VECTOR_COLUMNS}"
    )
    (folder / "config/pipelines/vectors.yaml").write_text("{model: vectors-model, cache: {}}")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(lay_out(tmp_path)) as server:
        yield server


def ask(server: Server, pipeline: str, x: list[float]) -> dict[str, Any]:
    body = {"pipeline": pipeline, "inputs": {"x": x}}
    answer = httpx2.post(f"{server.url}/api/v1/inference", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def ask_together(server: Server, pipeline: str, count: int) -> list[dict[str, Any]]:
    body = {"pipeline": pipeline, "inputs": {"x": [1, 2]}}
    limits = httpx2.Limits(max_connections=count)
    async with httpx2.AsyncClient(timeout=30, limits=limits) as client:
        asked = [client.post(f"{server.url}/api/v1/inference", json=body) for _ in range(count)]
        return [answer.json()["data"] for answer in await asyncio.gather(*asked)]


def rows_run(answers: list[dict[str, Any]]) -> int:
    """How many rows the model had seen when it gave the last of *answers*."""
    return max(answer["outputs"]["rows"] for answer in answers)


@pytest.mark.slow
def test_a_hundred_equal_requests_at_once_run_once_where_a_cache_is_declared_and_only_there(server: Server) -> None:
    before = {name: ask(server, name, [0, 0])["outputs"]["rows"] for name in ("kept", "plain")}

    kept = asyncio.run(ask_together(server, "kept", 100))
    plain = asyncio.run(ask_together(server, "plain", 100))

    assert rows_run(kept) - before["kept"] == 1
    assert [answer["outputs"]["y"] for answer in kept] == [[2, 4]] * 100
    assert sum(not answer["cached"] for answer in kept) == 1
    assert rows_run(plain) - before["plain"] == 100
    assert not any(answer["cached"] for answer in plain)


@pytest.mark.slow
def test_a_reload_changes_the_key_by_itself(server: Server, tmp_path: Path) -> None:
    before = [ask(server, "kept", [1, 2]) for _ in range(2)]
    (tmp_path / "models/counting.py").write_text(MODEL.replace("* 2", "* 3"))

    reloaded = httpx2.post(f"{server.url}/api/v1/models/kept/reload", timeout=30)
    after = [ask(server, "kept", [1, 2]) for _ in range(2)]

    assert reloaded.status_code == 200, reloaded.text
    assert [(one["outputs"]["y"], one["cached"]) for one in before] == [([2, 4], False), ([2, 4], True)]
    assert [(one["outputs"]["y"], one["cached"]) for one in after] == [([3, 6], False), ([3, 6], True)]


@pytest.mark.slow
def test_two_pipelines_with_the_same_body_never_get_each_others_answers(server: Server) -> None:
    mine = [ask(server, "kept", [1, 2]) for _ in range(2)]
    before = ask(server, "also", [0, 0])["outputs"]["rows"]

    other = [ask(server, "also", [1, 2]) for _ in range(2)]

    assert [(one["pipeline"], one["cached"]) for one in (*mine, *other)] == [
        ("kept", False), ("kept", True), ("also", False), ("also", True)
    ]  # fmt: skip
    assert [one["outputs"]["rows"] for one in other] == [before + 1] * 2


@pytest.mark.slow
def test_every_door_says_whether_an_answer_was_kept(tmp_path: Path) -> None:
    port = free_port()
    with serving(lay_out(tmp_path, f"api: {{grpc_port: {port}}}")) as server:
        v2 = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
        native = [ask(server, "kept", [1, 2])["cached"] for _ in range(2)]
        rest = [
            httpx2.post(f"{server.url}/v2/models/{name}/infer", json=v2, timeout=30).json()
            for name in ("kept", "also", "also", "plain")
        ]
        texts = {"model": "vectors", "input": ["a", "bb"]}
        vectors = [httpx2.post(f"{server.url}/v1/embeddings", json=texts, timeout=30) for _ in range(2)]
        over_grpc = [ask_by_grpc(port, name) for name in ("kept", "plain")]
        fresh = httpx2.post(
            f"{server.url}/v2/models/kept/infer", json=v2, headers={"Cache-Control": "no-cache"}, timeout=30
        ).json()
        metrics = httpx2.get(f"{server.url}/metrics").text

    assert native == [False, True]
    assert [one.get("parameters") for one in rest] == [{"cached": True}, {"cached": False}, {"cached": True}, None]
    assert [one.headers.get("cache-status") for one in vectors] == ["headrace; fwd=miss", "headrace; hit"]
    assert vectors[0].json()["data"] == vectors[1].json()["data"]
    assert over_grpc == [{"cached": True}, {}]
    assert fresh["parameters"] == {"cached": False}
    assert 'headrace_cache_total{pipeline="kept",state="hit",version="1"} 3.0' in metrics
    assert 'headrace_cache_up{level="memory"} 1.0' in metrics


def ask_by_grpc(port: int, name: str) -> dict[str, bool]:
    asked = messages.ModelInferRequest(model_name=name)
    asked.raw_input_contents.append(np.array([[1, 2]], np.float32).tobytes())
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = messages.ModelInferResponse.FromString(infer(asked.SerializeToString(), timeout=30))
    values = np.frombuffer(answer.raw_output_contents[0], np.float32)
    assert values.tolist() == [2, 4]
    return {name: parameter.bool_param for name, parameter in answer.parameters.items()}


@pytest.mark.slow
@pytest.mark.parametrize("memory_mb", [0, 64], ids=["redis alone", "memory before it"])
def test_two_servers_share_answers_through_redis_and_go_on_without_it(tmp_path: Path, memory_mb: int) -> None:
    (tmp_path / "redis").mkdir()
    redis = RedisServer(tmp_path / "redis", password="pa55-word")
    main = f"cache: {{url: '{redis.url}', memory_mb: {memory_mb}}}"
    folders = [lay_out(tmp_path / name, main) for name in ("one", "other")]
    with serving(folders[0]) as one, serving(folders[1]) as other:
        without = [ask(one, "kept", [0, 0]) for _ in range(2)]
        with redis.up():
            wait_until_used(one)
            wait_until_used(other)
            first = ask(one, "kept", [1, 2])
            second = ask(other, "kept", [1, 2])
            redis.freeze()
            frozen = [ask(other, "kept", [3, 4])["outputs"]["y"] for _ in range(2)]
        gone = [ask(other, "kept", [5, 6])["outputs"]["y"] for _ in range(2)]
        logs = [server.log.read_text() for server in (one, other)]
        stopped = [one.stop(), other.stop()]

    assert [answer["outputs"]["y"] for answer in without] == [[0, 0]] * 2
    assert without[1]["cached"] is (memory_mb > 0)
    assert (first["cached"], second["cached"], second["outputs"]) == (False, True, first["outputs"])
    assert (frozen, gone) == ([[6, 8]] * 2, [[10, 12]] * 2)
    for log in logs:  # before Redis was there, or when it said nothing any more
        assert "the cache does not answer" in log
        assert "pa55-word" not in log and "Traceback" not in log
    assert stopped == [0, 0]


def wait_until_used(server: Server) -> None:
    """Ask until the server has found Redis: what is new then is kept there."""
    for number in range(100):
        ask(server, "kept", [-1, number])
        if 'headrace_cache_up{level="redis"} 1.0' in httpx2.get(f"{server.url}/metrics").text:
            return
    raise AssertionError(server.log.read_text())
