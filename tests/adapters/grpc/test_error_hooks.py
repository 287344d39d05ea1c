"""Error hooks hear once of each request for inference that fails, however early that is."""

import itertools
from typing import Any

import grpc
from tests.adapters.grpc.calls import request, running
from tests.adapters.http.conftest import ROUTED_ONE, ROUTED_TWO
from tests.adapters.http.test_error_hooks import Ears

from headrace.domain.routing import Router
from headrace.domain.spec import RouteSpec


async def test_a_request_that_finds_no_pipeline_is_told_once() -> None:
    async with running() as server:
        ears: Any = Ears()
        server.house.inference.engine.hooks = ears

        await server.client.infer(request("nobody"))
        stream = server.client.stream()
        await stream.write(request("nobody"))
        told = await stream.read()
        await stream.done_writing()
        server.house.inference.engine.hooks = None

    assert "nobody" in told.error_message
    assert ears.heard == [("None", "not_found")] * 2
    counted = server.house.inference.measures.requests
    assert {key[1:]: sum(seen.counts) for key, seen in counted.items()} == {("request", "grpc", "not_found"): 2}


async def test_who_may_not_ask_is_not_told_of() -> None:
    async with running(token="secret") as server:
        ears: Any = Ears()
        server.house.inference.engine.hooks = ears

        answer = await server.client.infer(request("double"))
        server.house.inference.engine.hooks = None

    assert answer.status is grpc.StatusCode.UNAUTHENTICATED
    assert ears.heard == []


async def test_who_meets_a_version_of_a_split_that_is_not_loaded_is_told_so() -> None:
    async with running([ROUTED_ONE, ROUTED_TWO]) as server:
        inference, points = server.house.inference, itertools.cycle((0.7, 0.2))
        await server.house.deployments.unload("routed", "2")
        split = RouteSpec("routed", split={"1": 1, "2": 1})
        inference.router = Router(inference.engine.registry, [split], chance=lambda: next(points))
        inference.forget_choices()

        answer = await server.client.infer(request("routed"))

    assert answer.status is grpc.StatusCode.UNAVAILABLE
