"""What does bad input get? Each a clear error with its code, and never a 500."""

import gzip
import zlib
from typing import Any

import pytest

GOOD = b'{"pipeline": "double", "inputs": {"x": [1, 2]}}'


async def post(client: Any, body: bytes, **headers: str) -> Any:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    return await client.post("/api/v1/inference", content=body, headers=sent)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b"{", "after 1 bytes"),
        (b'{"inputs": }', "byte 11"),
        (b'{"inputs": {"x": NaN}}', "byte 17"),
        (b'{"inputs": {"x": -Infinity}}', "byte"),
        (b'{"inputs": {"x": 1e999}}', "out of range"),
        (b'{"inputs": {"x": ' + b"1" * 5000 + b"}}", "out of range"),
        (b'{"inputs": {"x": "\xff"}}', "UTF-8"),
        (b'{"inputs": {"x": "\\ud800"}}', "JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "array"),
        (b'{"inputs": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "nested too deep"),
        (b"[]", "array"),
        (b"17", "int"),
        (b'{"inputs": 5}', "$.inputs"),
        (b'{"inputs": [1]}', "$.inputs[0]"),
        (b'{"pipeline": "double"}', "`inputs`"),
        (b'{"inputs": {}, "version": 1.5}', "$.version"),
        (b'{"inputs": {}, "options": []}', "$.options"),
        (GOOD + b"x", "trailing"),
        (b'{"pipline": "double", "inputs": {}}', "did you mean 'pipeline'?"),
    ],
)
async def test_an_envelope_that_cannot_be_understood(client: Any, body: bytes, told: str) -> None:
    answer = await post(client, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (b'{"x": "text"}', "the string 'text'"),
        (b'{"x": [1, true]}', ""),
        (b'{"x": [1, null]}', "null"),
        (b'{"x": [1, 2, 3]}', "[3]"),
        (b'{"x": [[1, 2], [3, 4]]}', "shape"),
        (b'{"x": [[1], [2, 3]]}', "'x'"),
        (b'{"x": {}}', "an object"),
        (b'{"x": {"base64": "AA=="}}', "an object"),
        (b"{}", "lacks 'x'"),
        (b'{"x": [1, 2], "z": 1}', "unknown input 'z'"),
        (b'{"X": [1, 2]}', "unknown input 'X'"),
        (b'{"x": "' + b"9" * 1_000_000 + b'"}', "the string"),
        (b'{"x": ' + b"[" * 500 + b"]" * 500 + b"}", ""),
    ],
)
async def test_a_value_that_does_not_fit(client: Any, inputs: bytes, told: str) -> None:
    answer = await post(client, b'{"pipeline": "double", "inputs": ' + inputs + b"}")

    # A boolean among numbers reads as one of them, with or without neighbours in the batch.
    assert answer.status_code == (200 if b"true" in inputs else 422)
    assert told in answer.json().get("error", {}).get("message", "")
    assert len(answer.content) < 1000


async def test_duplicate_keys_are_fine_and_the_last_counts(client: Any) -> None:
    answer = await post(client, b'{"pipeline": "double", "inputs": {"x": [0, 0], "x": [1, 2]}}')

    assert answer.json()["data"]["outputs"] == {"y": [2.0, 4.0]}


async def test_an_unknown_pipeline_is_answered_with_the_nearest_one(client: Any) -> None:
    answer = await post(client, b'{"pipeline": "duoble", "inputs": {"x": [1, 2]}}')

    assert answer.status_code == 404
    assert "did you mean 'double'?" in answer.json()["error"]["message"]


async def test_a_bare_name_with_several_versions_lists_them(client: Any) -> None:
    answer = await post(client, b'{"pipeline": "two", "inputs": {"x": [1, 2]}}')

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "ambiguous_version"
    assert answer.json()["error"]["details"] == {"versions": ["1", "2"]}


@pytest.mark.parametrize("media", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
async def test_another_media_type_is_refused(client: Any, media: str) -> None:
    answer = await post(client, GOOD, content_type=media)

    assert answer.status_code == 415
    assert media in answer.json()["error"]["message"]


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "application/vnd.shop+json", "Application/JSON"])
async def test_every_spelling_of_json_is_read(client: Any, media: str) -> None:
    assert (await post(client, GOOD, content_type=media)).status_code == 200


async def test_a_body_without_a_media_type_is_read_as_json(client: Any) -> None:
    assert (await client.post("/api/v1/inference", content=GOOD)).status_code == 200


async def test_a_packed_body_is_read(client: Any) -> None:
    assert (await post(client, gzip.compress(GOOD), content_encoding="gzip")).status_code == 200
    two_members = gzip.compress(GOOD[:10]) + gzip.compress(GOOD[10:])
    assert (await post(client, two_members, content_encoding="gzip")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [GOOD, gzip.compress(GOOD)[:-9], zlib.compress(GOOD), gzip.compress(GOOD) + b"junk"],
    ids=["plain", "cut short", "another format", "with a tail"],
)
async def test_a_packed_body_that_does_not_hold_is_refused(client: Any, body: bytes) -> None:
    answer = await post(client, body, content_encoding="gzip")

    assert answer.status_code == 400
    assert "gzip" in answer.json()["error"]["message"]


async def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(client: Any) -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=9)

    answer = await post(client, bomb, content_encoding="gzip")

    assert len(bomb) < 300_000
    assert answer.status_code == 413


async def test_another_encoding_is_refused(client: Any) -> None:
    assert (await post(client, GOOD, content_encoding="br")).status_code == 415


async def test_a_body_that_is_announced_too_long_is_not_read(house: Any) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/inference", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"2000000000")],
    }  # fmt: skip
    await house.app(scope, receive, send)

    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_body_that_grows_too_long_is_not_read_to_its_end(house: Any, connect: Any) -> None:
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1_000_000)

    async with connect(house.app) as client:
        answer = await client.post("/api/v1/inference", content=endless())

    assert answer.status_code == 413
    assert taken <= 12


@pytest.mark.parametrize("path", ["/api/v1/inference", "/v2/models/double/infer", "/predict/image"])
async def test_a_client_that_leaves_within_its_body_is_dropped_quietly(house: Any, path: str) -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        raise AssertionError(f"nobody is there to get {message}")

    media = b"multipart/form-data; boundary=b" if "image" in path else b"application/json"
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"content-type", media)],
    }  # fmt: skip
    await house.app(scope, receive, send)

    assert house.app.in_flight == 0


async def test_a_path_that_nobody_answers(client: Any) -> None:
    answer = await client.get("/api/v1/nothing")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/api/v1/inference", "/v2/models/double/infer", "/api/v1/models/double/reload"])
async def test_a_wrong_method_is_told_the_right_one(client: Any, path: str) -> None:
    answer = await client.get(path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "invalid_request" in answer.text
