"""Does middleware stand around everything, and does its failure stay with the request that met it?"""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from headrace.adapters.http.app import create_app
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import InvalidConfig

BODY = {"pipeline": "double", "inputs": {"x": [1, 2]}}
seen: list[str] = []


class Stamp:
    """Adds a header to every answer, and writes down the order."""

    name = "outer"

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        seen.append(self.name)

        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-stamp", self.name.encode())]}
            await send(message)

        await self.app(scope, receive, stamped)


class Inner(Stamp):
    name = "inner"


def failing(app: Any) -> Any:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/livez":
            raise ValueError("see /srv/secret/place")
        await app(scope, receive, send)

    return fail


def failing_late(app: Any) -> Any:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        raise ValueError("too late")

    return fail


async def no_middleware(app: Any) -> Any:
    return app


def broken(app: Any) -> Any:
    raise RuntimeError("cannot")


async def asked(house: Any, path: str = "/api/v1/inference") -> httpx2.Response:
    transport = httpx2.ASGITransport(app=house.app.entrance)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await (client.get(path) if path == "/livez" else client.post(path, json=BODY))


async def test_the_first_one_stands_outermost_and_every_answer_passes_it(open_house: Any) -> None:
    seen.clear()

    async with open_house(middleware=[("outer", Stamp), ("inner", Inner)]) as house:
        answer = await asked(house)

    assert seen == ["outer", "inner"]
    assert answer.headers.get_list("x-stamp") == ["inner", "outer"]
    assert answer.json()["data"]["outputs"] == {"y": [2.0, 4.0]}


async def test_an_exception_becomes_an_internal_error_of_that_request_alone(
    open_house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(middleware=[("failing", failing)]) as house:
        failed, fine = await asked(house, "/livez"), await asked(house)

    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal")
    assert "/srv" not in failed.text
    assert fine.status_code == 200
    assert any(record.message == "middleware failed" for record in caplog.records)


async def test_an_exception_after_the_answer_changes_nothing(open_house: Any) -> None:
    async with open_house(middleware=[("late", failing_late)]) as house:
        answer = await asked(house)

    assert answer.status_code == 200


@pytest.mark.parametrize("wrap", [broken, no_middleware, lambda app: None], ids=["raises", "coroutine", "nothing"])
async def test_one_that_cannot_be_put_there_is_named_at_the_start(house: Any, wrap: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"api\.middleware 'shop\.web:wrap'"):
        create_app(house.inference, house.deployments, ApiSettings(), middleware=[("shop.web:wrap", wrap)])


async def test_without_any_the_door_is_the_entrance(open_house: Any) -> None:
    async with open_house() as house:
        assert house.app.entrance is house.app


def patient(app: Any) -> Any:
    async def wait(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.timeout(5):  # needs a task
            await asyncio.sleep(0)
            await app(scope, receive, send)

    return wait


async def test_it_runs_in_a_task_as_anywhere_else(run_server: Any) -> None:
    async with run_server(middleware=[("patient", patient)]) as server, httpx2.AsyncClient() as client:
        answer = await client.post(f"{server.url}/api/v1/inference", content=json.dumps(BODY))

    assert answer.json()["data"]["outputs"] == {"y": [2.0, 4.0]}


async def test_it_is_served(run_server: Any) -> None:
    async with run_server(middleware=[("outer", Stamp)]) as server, httpx2.AsyncClient() as client:
        answer = await client.post(f"{server.url}/api/v1/inference", content=json.dumps(BODY))

    assert answer.headers["x-stamp"] == "outer"
