"""Who may call, and from which pages?"""

from typing import Any

import pytest

from headrace.adapters.credentials import Credentials
from headrace.adapters.http.caller import Doorkeeper
from headrace.adapters.http.settings import ApiSettings
from headrace.core.constraints import Secret
from headrace.domain.errors import Unauthenticated
from headrace.services.access import Access
from headrace.services.context import ANYBODY, TOKEN_HOLDER, Caller

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


async def test_a_key_opens_the_door_as_the_token_does_until_it_is_revoked(
    open_house: Any, connect: Any, access: Access
) -> None:
    key = (await access.create("shop")).shown.reveal()
    await access.refresh()
    async with open_house(token=Credentials("s3cret", access)) as house, connect(house.app) as client:
        answers = [
            await client.post("/api/v1/inference", json=BODY, headers=headers)
            for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, {"X-API-Key": "s3cret"}, {})
        ]
        await access.revoke("shop")
        await access.refresh()
        refused = await client.post("/api/v1/inference", json=BODY, headers={"X-API-Key": key})

    assert [answer.status_code for answer in answers] == [200, 200, 200, 401]
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthenticated")
    assert "the key 'shop' was revoked" in refused.json()["error"]["message"]
    assert key not in refused.text


async def test_a_key_that_cannot_be_looked_up_is_asked_to_come_again(
    open_house: Any, connect: Any, access: Access
) -> None:
    key = (await access.create("shop")).shown.reveal()  # and nothing has been read yet
    async with open_house(token=Credentials("s3cret", access)) as house, connect(house.app) as client:
        answer = await client.post("/api/v1/inference", json=BODY, headers={"X-API-Key": key})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "dependency_failure"


async def test_the_doorkeeper_tells_who_asks(access: Access) -> None:
    key = (await access.create("shop", ["infer"])).shown.reveal().encode()
    await access.refresh()
    keeper = Doorkeeper(Credentials("s3cret", access), ())

    assert keeper.admit("GET", "/x", {b"x-api-key": key}) == Caller("shop", frozenset({"infer"}))
    assert keeper.admit("GET", "/x", {b"authorization": b"Bearer s3cret"}) == TOKEN_HOLDER
    assert keeper.admit("GET", "/livez", {}) == ANYBODY
    assert Doorkeeper(None, ()).admit("POST", "/x", {}) == ANYBODY
    with pytest.raises(Unauthenticated):
        keeper.admit("GET", "/x", {b"authorization": b"Bearer " + key[:-1]})
