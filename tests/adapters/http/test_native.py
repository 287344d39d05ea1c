"""Are native inference calls understood and answered as the contract says?"""

import asyncio
from datetime import datetime
from typing import Any

import pytest


async def test_one_row_gets_one_object(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {"x": [1, 2.5]}})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["success"] is True
    assert body["request_id"] == answer.headers["x-request-id"]
    data = body["data"]
    assert datetime.fromisoformat(data.pop("timestamp")).utcoffset() is not None
    assert data == {"pipeline": "double", "version": "1", "outputs": {"y": [2.0, 5.0]}, "cached": False}


async def test_a_list_gets_a_list_in_its_order(client: Any) -> None:
    rows = [{"x": [n, n]} for n in range(5)]

    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": rows})

    assert answer.json()["data"]["outputs"] == [{"y": [2.0 * n, 2.0 * n]} for n in range(5)]


async def test_a_list_of_one_gets_a_list(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": [{"x": [1, 1]}]})

    assert answer.json()["data"]["outputs"] == [{"y": [2.0, 2.0]}]


async def test_no_rows_get_no_outputs(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": []})

    assert answer.status_code == 200
    assert answer.json()["data"]["outputs"] == []


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_the_path_may_name_the_pipeline(client: Any, prefix: str) -> None:
    answer = await client.post(f"{prefix}/models/two/predict", json={"version": 2, "inputs": {"x": [1, 2]}})

    assert answer.json()["data"]["outputs"] == {"y": [2.0, 4.0]}
    assert answer.json()["data"]["version"] == "2"


async def test_a_version_may_be_an_alias(client: Any) -> None:
    body = {"pipeline": "routed", "version": "canary", "inputs": {"x": [1, 2]}}

    answer = await client.post("/api/v1/inference", json=body)

    assert answer.json()["data"]["version"] == "2"


async def test_a_row_that_fails_stands_in_its_place_and_disturbs_nobody(client: Any) -> None:
    rows = [{"x": [1, 1]}, {"x": [13, 1]}, {"x": ["a", 1]}, {"x": [2, 2]}]

    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": rows})

    assert answer.status_code == 200
    outputs = answer.json()["data"]["outputs"]
    assert [outputs[0], outputs[3]] == [{"y": [2.0, 2.0]}, {"y": [4.0, 4.0]}]
    assert [outputs[n]["error"]["code"] for n in (1, 2)] == ["model_failure", "invalid_input"]


async def test_a_list_of_failures_fails_like_its_first_row_and_lists_them_all(client: Any) -> None:
    rows = [{"x": ["a", 1]}, {"x": [1, 2, 3]}]

    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": rows})

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid_input"
    assert [row["code"] for row in error["details"]["rows"]] == ["invalid_input", "invalid_input"]


async def test_a_single_row_that_fails_fails_the_call(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {"x": ["a", 1]}})

    assert answer.status_code == 422
    assert answer.json()["success"] is False
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


async def test_a_request_without_a_name_goes_to_the_default(open_house: Any, connect: Any) -> None:
    async with open_house(default="double") as house, connect(house.app) as client:
        answer = await client.post("/api/v1/inference", json={"inputs": {"x": [1, 2]}})

    assert answer.json()["data"]["pipeline"] == "double"


async def test_a_request_without_a_name_and_without_a_default_says_what_is_missing(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"inputs": {"x": [1, 2]}})

    assert answer.status_code == 400
    assert "pipelines.default" in answer.json()["error"]["message"]


async def test_the_model_must_be_that_of_the_pipeline(client: Any) -> None:
    right = {"pipeline": "double", "model": "double-model", "inputs": {"x": [1, 2]}}

    good = await client.post("/api/v1/inference", json=right)
    bad = await client.post("/api/v1/inference", json={**right, "model": "shout-model"})

    assert good.status_code == 200
    assert bad.status_code == 400
    assert "'double-model'" in bad.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/v1/inference?explain=1", "/api/v1/inference"])
async def test_explain_tells_where_the_time_went(client: Any, path: str) -> None:
    body: dict[str, Any] = {"pipeline": "double", "inputs": {"x": [1, 2]}}
    if "?" not in path:
        body["options"] = {"explain": True}

    explain = (await client.post(path, json=body)).json()["data"]["explain"]

    assert explain["batch_size"] == 1
    assert explain["route"] == "only version"
    assert explain["digest"] == "sha256:0123"
    assert [step["name"] for step in explain["steps"]] == ["inputs", "model"]
    assert explain["queue_ms"] >= 0


async def test_a_given_request_id_comes_back(client: Any) -> None:
    answer = await client.get("/livez", headers={"X-Request-ID": "abc 123"})

    assert answer.headers["x-request-id"] == "abc 123"


@pytest.mark.parametrize("given", [b"a" * 129, b"\xe9t\xe9", b"a\tb", b""])
async def test_a_request_id_that_logs_should_not_hold_is_replaced(client: Any, given: bytes) -> None:
    answer = await client.get("/livez", headers=[(b"X-Request-ID", given)])

    assert answer.headers["x-request-id"].encode("latin-1") != given
    assert answer.headers["x-request-id"].isascii()


async def test_request_ids_differ(client: Any) -> None:
    answers = [await client.get("/livez") for _ in range(3)]

    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


async def test_concurrent_requests_get_their_own_answers(client: Any) -> None:
    async def ask(n: int) -> Any:
        body = {"pipeline": "double", "inputs": {"x": [n, -n]}}
        return (await client.post("/api/v1/inference", json=body)).json()["data"]["outputs"]["y"]

    answers = await asyncio.gather(*map(ask, range(100, 164)))

    assert answers == [[2.0 * n, -2.0 * n] for n in range(100, 164)]


async def test_a_deadline_reaches_the_queue(open_house: Any, connect: Any, blocker: Any) -> None:
    async with open_house([blocker.recipe]) as house, connect(house.app) as client:
        body = {"pipeline": "slow", "inputs": {"x": [1, 2]}}

        answer = await client.post("/api/v1/inference", json=body, headers={"X-Timeout-Ms": "30"})

        blocker.let_go.set()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("given", ["0", "-5", "soon", "nan", "inf", "1e300", ""])
async def test_a_bad_timeout_is_refused(client: Any, given: str) -> None:
    body = {"pipeline": "double", "inputs": {"x": [1, 2]}}

    answer = await client.post("/api/v1/inference", json=body, headers={"X-Timeout-Ms": given})

    assert answer.status_code == 400
    assert "X-Timeout-Ms" in answer.json()["error"]["message"]


async def test_a_pipeline_that_is_declared_and_not_loaded_is_not_ready(house: Any, client: Any) -> None:
    await house.deployments.unload("double")

    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {"x": [1, 2]}})

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert int(answer.headers["retry-after"]) >= 1


async def test_refused_requests_are_measured_too(house: Any, client: Any) -> None:
    await client.post("/api/v1/inference", content=b"{")
    await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {"x": [1, 2]}})

    codes = {(labels.pipeline, labels.code) for labels, _ in house.inference.measures.labelled()}
    assert codes == {("", "invalid_request"), ("double", "ok")}
