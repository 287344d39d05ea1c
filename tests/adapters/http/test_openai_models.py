"""Does ``/v1`` list what its clients may name, and refuse in the form that they understand?"""

from typing import Any

import pytest


async def test_every_pipeline_is_listed_by_its_name_and_its_full_name(client: Any) -> None:
    listed = (await client.get("/v1/models")).json()

    ids = [model["id"] for model in listed["data"]]
    assert listed["object"] == "list"
    assert {"double", "double@1", "routed", "routed@1", "routed@2", "two@1", "two@2"} <= set(ids)
    assert "two" not in ids  # two versions, and no route: the bare name answers nothing
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["double", "double@1", "routed", "routed@2", "routed@canary"])
async def test_a_model_is_shown_under_the_name_that_was_asked(client: Any, name: str) -> None:
    answer = await client.get(f"/v1/models/{name}")

    model = answer.json()
    assert answer.status_code == 200
    assert (model["id"], model["object"], model["owned_by"]) == (name, "model", "headrace")
    assert isinstance(model["created"], int) and model["created"] > 1_600_000_000


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "code"),
    [
        ("GET", "models/nope", 404, "invalid_request_error", "not_found"),
        ("GET", "models/routed@nope", 404, "invalid_request_error", "not_found"),
        ("GET", "models/two", 409, "invalid_request_error", "ambiguous_version"),
        ("DELETE", "models/double", 405, "invalid_request_error", "invalid_request"),
        ("GET", "files", 404, "invalid_request_error", "not_found"),
        ("GET", "embeddings", 405, "invalid_request_error", "invalid_request"),
    ],
)
async def test_a_refusal_has_the_form_of_the_protocol(
    client: Any, method: str, path: str, status: int, kind: str, code: str
) -> None:
    answer = await client.request(method, f"/v1/{path}")

    error = answer.json()["error"]
    assert answer.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-request-id"]


async def test_one_that_is_not_loaded_may_be_asked_again_later(house: Any, client: Any) -> None:
    await house.deployments.unload("shout")

    answer = await client.post("/v1/embeddings", json={"model": "shout", "input": "a"})

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-should-retry"] == "true"
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_token_is_demanded_in_the_form_of_the_protocol(open_house: Any, connect: Any) -> None:
    async with open_house(token="secret") as house, connect(house.app) as client:
        refused = await client.get("/v1/models", headers={"authorization": "Bearer wrong"})
        allowed = await client.get("/v1/models", headers={"authorization": "Bearer secret"})

    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert allowed.status_code == 200


async def test_the_documentation_shows_the_calls(client: Any) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    shown = {path: set(calls) for path, calls in paths.items() if path.startswith("/v1/")}
    assert shown == {
        "/v1/models": {"get"},
        "/v1/models/{model}": {"get"},
        "/v1/embeddings": {"post"},
        "/v1/completions": {"post"},
        "/v1/chat/completions": {"post"},
    }
