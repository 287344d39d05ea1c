"""A request on a split is put to chance once, whichever ways of the door it takes."""

import asyncio
import itertools
import json
from http.client import HTTPConnection
from typing import Any

import pytest
from tests.adapters.http.conftest import ROUTED_ONE, ROUTED_TWO, Running, client_of, opened, running

from headrace.domain.routing import Router
from headrace.domain.spec import RouteSpec
from headrace.services.inference import Inference

SPLIT = RouteSpec("routed", split={"1": 1, "2": 1})
BY_TURNS = ["1", "2"] * 3
FULL: Any = {"x": [1, 2]}
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def split(inference: Inference) -> None:
    """From now on requests that name no version meet the first and the second by turns."""
    points = itertools.cycle((0.2, 0.7))
    inference.router = Router(inference.engine.registry, [SPLIT], chance=lambda: next(points))
    inference.default = "routed"
    inference.forget_choices()


def versions(server: Running, path: str, body: Any) -> list[str]:
    """Which version answers each of some requests on one connection."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    found = []
    for _ in BY_TURNS:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        found.append(answer["model_version"] if "model_version" in answer else answer["data"]["version"])
    connection.close()
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/inference", {"pipeline": "routed", "inputs": FULL}),
        ("/api/v1/inference", {"pipeline": "routed", "inputs": []}),  # nothing to run: it takes another way
        ("/api/v1/inference", {"inputs": FULL}),
        ("/api/v1/inference", {"model": "routed-model", "inputs": FULL}),
        ("/api/v1/models/routed/predict", {"inputs": [FULL, FULL]}),
        ("/v2/models/routed/infer", {"inputs": [TENSOR]}),
        ("/v2/models/routed/infer", {"inputs": [{**TENSOR, "shape": [0, 2], "data": []}]}),
    ],
)
async def test_each_request_is_one_draw(path: str, body: Any) -> None:
    async with running(recipes=[ROUTED_ONE, ROUTED_TWO]) as server:
        split(server.house.inference)

        assert await asyncio.to_thread(versions, server, path, body) == BY_TURNS


async def test_who_meets_a_version_that_is_not_loaded_is_told_so() -> None:
    async with opened([ROUTED_ONE, ROUTED_TWO]) as house, client_of(house.app) as client:
        await house.deployments.unload("routed", "2")
        split(house.inference)

        answers = [await client.post("/v2/models/routed/infer", json={"inputs": [TENSOR]}) for _ in BY_TURNS]

    assert [answer.status_code for answer in answers] == [200, 503] * 3
