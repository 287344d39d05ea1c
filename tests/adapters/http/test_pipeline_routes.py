"""`/api/v1/routes` and `headrace routes`: does a route that is sent hold, and does the answer say what counts?"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.http.app import create_app
from headrace.adapters.http.settings import ApiSettings
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateRoutes
from headrace.infra.databases.url import StateUrl
from headrace.services.routes import Routes

EMPTY = {"default": None, "aliases": {}, "split": {}, "sticky": None, "match": [], "shadow": None}
BY_FILE = {**EMPTY, "default": "1", "aliases": {"canary": "2"}}
PATH = "/api/v1/routes/routed"


@pytest.fixture
async def client(open_house: Any, connect: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """A client of a door whose routes can be changed."""
    state = State(StateUrl("sqlite:///state.db"), tmp_path)
    async with open_house() as house:
        routes = Routes(house.inference.router, house.deployments, StateRoutes(state))
        app = create_app(house.inference, house.deployments, ApiSettings(), routes=routes)
        async with connect(app) as found:
            yield found
    await state.close()


async def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_route_of_a_file_is_shown(client: Any) -> None:
    shown = await data(await client.get(PATH))

    assert shown == {
        "name": "routed", "source": "file", "route": BY_FILE, "declared": BY_FILE,
        "changed_at": None, "changed_by": None,
    }  # fmt: skip
    assert await data(await client.get("/api/v1/routes")) == {"routes": [shown]}


async def test_what_is_set_is_shown_beside_the_file_until_it_is_reset(client: Any) -> None:
    match = [{"header": {"x-canary": "true"}, "version": "canary"}]
    wanted = {"default": "2", "aliases": {"canary": "1"}, "split": {"2": 9, "1": 1.5}, "sticky": "x", "match": match}

    changed = await data(await client.put(PATH, json=wanted))
    shown = await data(await client.get(PATH))
    reset = await data(await client.delete(PATH))

    assert shown == changed
    assert (shown["source"], shown["route"], shown["declared"]) == ("set", {**EMPTY, **wanted}, BY_FILE)
    assert shown["changed_by"].startswith("http")
    assert shown["changed_at"] is not None
    assert (reset["source"], reset["route"]) == ("file", BY_FILE)


async def test_a_pipeline_without_a_route_has_none(client: Any) -> None:
    shown = await data(await client.get("/api/v1/routes/double"))

    assert (shown["source"], shown["route"], shown["declared"]) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"defalt": "1"}, 400, "defalt: found an unknown key (did you mean 'default'?)"),
        ({"split": {"1": "many"}}, 400, "split.1: found 'many', wanted a number"),
        ({"match": [{"version": "1"}]}, 400, "match[0].header: found nothing"),
        ({"match": [{"headers": {}, "version": "1"}]}, 400, "did you mean 'header'?"),
        ({"aliases": ["1"]}, 400, "aliases: found a list of 1, wanted a mapping"),
        ({"name": "double"}, 400, "the body another"),
        ([], 400, "Expected `object`"),
        ({"default": "${HOME}"}, 404, "found no version '${HOME}'"),
        ({"default": "canry", "aliases": {"canary": "2"}}, 404, "did you mean 'canary'?"),
        ({"aliases": {"1": "2"}}, 422, "aliases.1: found an alias that is called as version '1'"),
        ({"split": {"1": 0}}, 422, "split: found weights that add up to 0"),
        ({"split": {"1": 1}, "sticky": "y"}, 422, "sticky: found 'y', which is no input of the pipeline"),
    ],
)
async def test_what_is_no_route_is_refused_and_nothing_changes(client: Any, body: Any, status: int, words: str) -> None:
    answer = await client.put(PATH, json=body)

    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert (await data(await client.get(PATH)))["source"] == "file"


async def test_a_pipeline_that_is_not_there_has_no_route(client: Any) -> None:
    answers = [await client.request(method, "/api/v1/routes/rooted", json={}) for method in ("GET", "PUT", "DELETE")]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert all("did you mean 'routed'" in answer.json()["error"]["message"] for answer in answers)


async def test_a_route_says_that_it_takes_json(client: Any) -> None:
    answer = await client.put(PATH, content=b"default: 2", headers={"Content-Type": "application/yaml"})

    assert answer.status_code == 415


async def test_the_document_describes_the_calls(client: Any) -> None:
    document = (await client.get("/openapi.json")).json()

    assert set(document["paths"]["/api/v1/routes/{name}"]) == {"get", "put", "delete"}
