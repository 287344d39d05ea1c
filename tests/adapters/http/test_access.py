"""Who may call, and from which pages?"""

from typing import Any

import pytest

from headrace.adapters.http.settings import ApiSettings
from headrace.core.constraints import Secret

BODY = {"pipeline": "double", "inputs": {"x": [1, 2]}}


@pytest.mark.parametrize("token", ["s3cret", Secret("s3cret")])
@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer s3cret"}, {"Authorization": "bearer s3cret"}, {"X-API-Key": "s3cret"}]
)
async def test_the_token_opens_the_door(open_house: Any, connect: Any, token: Any, headers: dict[str, str]) -> None:
    async with open_house(token=token) as house, connect(house.app) as client:
        answer = await client.post("/api/v1/inference", json=BODY, headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}, {"X-API-Key": ""}, {"X-API-Key": "é"}],
)
@pytest.mark.parametrize("path", ["/api/v1/inference", "/metrics", "/docs", "/health", "/ready", "/v2", "/nothing"])
async def test_without_the_token_only_probes_answer(
    open_house: Any, connect: Any, path: str, headers: dict[str, str]
) -> None:
    async with open_house([], start=False, token="s3cret") as house, connect(house.app) as client:
        raw = [(name, text.encode("latin-1")) for name, text in headers.items()]
        answer = await client.get(path, headers=raw)
        alive = await client.get("/livez")
        ready = await client.get("/readyz")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "s3cret" not in answer.text
    assert (alive.status_code, ready.status_code) == (200, 503)


async def test_without_a_token_everything_on_this_machine_may_call(client: Any) -> None:
    assert (await client.post("/api/v1/inference", json=BODY)).status_code == 200


async def test_a_strange_page_may_not_call_a_server_without_a_token(client: Any) -> None:
    answer = await client.post("/api/v1/models/double/unload", headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert "api.cors_origins" in answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_of_this_server_may_call(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json=BODY, headers={"Origin": "http://test"})

    assert answer.status_code == 200


@pytest.mark.parametrize(("origins", "told"), [(("https://shop.example/",), "https://shop.example"), (("*",), "*")])
async def test_pages_of_allowed_origins_may_call_and_read(
    open_house: Any, connect: Any, origins: tuple[str, ...], told: str
) -> None:
    settings = ApiSettings(cors_origins=origins)
    origin = {"Origin": "https://shop.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with open_house(settings=settings, token="t") as house, connect(house.app) as client:
        preflight = await client.options("/api/v1/inference", headers=asked)
        answer = await client.post("/api/v1/inference", json=BODY, headers={**origin, "X-API-Key": "t"})
        failure = await client.get("/api/v1/models", headers=origin)
        documented = await client.get("/api/v1/models", headers={**origin, "X-API-Key": "t"})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == "content-type"
    for one in (preflight, answer, failure, documented):
        assert one.headers["access-control-allow-origin"] == told
    assert (answer.status_code, failure.status_code, documented.status_code) == (200, 401, 200)


async def test_a_preflight_from_elsewhere_is_refused(client: Any) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    assert (await client.options("/api/v1/inference", headers=asked)).status_code == 403
