"""The shorter way of hot calls must be told from the normal one by its speed alone."""

import asyncio
import json
import random
import struct
from typing import Any

import pytest

from headrace.adapters.http.settings import ApiSettings

BODY = b'{"pipeline": "double", "inputs": {"x": [1, 2]}}'
BAD = b'{"pipeline": "double", "inputs": {"x": ["one", 2]}}'


def request(body: bytes = BODY, *headers: bytes, path: bytes = b"/api/v1/inference") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: t", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
    return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))


async def test_both_ways_alternate_on_one_connection(run_server: Any) -> None:
    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        found = []
        for sent in (
            request(),
            b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n",
            request(BAD),
            request(BODY, b"content-encoding: identity"),
            request(b"{nonsense"),
            request(),
        ):
            writer.write(sent)
            found.append((await answer_of(reader))[0])
        writer.close()

    assert found == [200, 200, 422, 200, 400, 200]


async def test_a_request_that_comes_byte_by_byte_is_answered(run_server: Any) -> None:
    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in request():
            writer.write(bytes([byte]))
            await writer.drain()
        status, body = await answer_of(reader)
        writer.close()

    assert (status, body["data"]["outputs"]) == (200, {"y": [2.0, 4.0]})


@pytest.mark.parametrize("seed", range(5))
async def test_requests_cut_anywhere_are_answered_in_order(run_server: Any, seed: int) -> None:
    chance = random.Random(seed)
    bodies = [b'{"pipeline": "double", "inputs": {"x": [%d, 0]}}' % (n + 20) for n in range(30)]
    extras = [(), (b"content-encoding: identity",), (b"connection: keep-alive",)]
    stream = b"".join(request(body, *chance.choice(extras)) for body in bodies)

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while stream:
            cut = chance.randint(1, 400)
            writer.write(stream[:cut])
            stream = stream[cut:]
            await writer.drain()
            await asyncio.sleep(0)
        answers = [await answer_of(reader) for _ in bodies]
        writer.close()

    assert [answer["data"]["outputs"]["y"][0] for _, answer in answers] == [2 * (n + 20) for n in range(30)]


async def test_a_body_above_the_limit_of_the_shorter_way_takes_the_other(run_server: Any) -> None:
    long = b'{"pipeline": "double", "inputs": {"x": [1, 2]}' + b" " * 100_000 + b"}"

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(long) + request())
        found = [await answer_of(reader), await answer_of(reader)]
        writer.close()

    assert [status for status, _ in found] == [200, 200]


async def test_a_client_that_asks_to_close_is_closed_after_its_answer(run_server: Any) -> None:
    async with run_server() as server:
        answer = await server.exchange(request(BODY, b"connection: close"))

    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.lower().count(b"connection: close") == 1


async def test_ids_and_deadlines_are_those_of_the_normal_way(run_server: Any) -> None:
    async with run_server() as server:
        named = await server.exchange(request(BODY, b"x-request-id: mine", b"connection: close"))
        refused = await server.exchange(request(BODY, b"x-timeout-ms: soon", b"connection: close"))

    assert b"x-request-id: mine" in named
    assert refused.startswith(b"HTTP/1.1 400")


async def test_a_head_that_comes_again_is_followed_by_any_body_of_its_length(run_server: Any) -> None:
    bodies = [b'{"pipeline": "double", "inputs": {"x": [%d, 0]}}' % (n + 20) for n in range(40)]

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        answers = []
        for body in bodies:
            writer.write(request(body))
            answers.append(await answer_of(reader))
        writer.close()

    assert [answer["data"]["outputs"]["y"][0] for _, answer in answers] == [2 * (n + 20) for n in range(40)]
    assert len({answer["request_id"] for _, answer in answers}) == 40


@pytest.mark.parametrize("seed", range(5))
async def test_a_known_head_cut_anywhere_or_followed_at_once_is_answered_in_order(run_server: Any, seed: int) -> None:
    chance = random.Random(seed)
    bodies = [b'{"pipeline": "double", "inputs": {"x": [%d, 0]}}' % (n + 20) for n in range(60)]
    whole = [request(body) for body in bodies]

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        answers = []
        for sent in whole[:3]:  # the head becomes known
            writer.write(sent)
            answers.append(await answer_of(reader))
        rest = whole[3:]
        while rest:
            together, rest = b"".join(rest[: (n := chance.randint(1, 3))]), rest[n:]
            cut = chance.randint(0, len(together))
            writer.write(together[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(together[cut:])
            answers += [await answer_of(reader) for _ in range(together.count(b"POST "))]
        writer.close()

    assert [answer["data"]["outputs"]["y"][0] for _, answer in answers] == [2 * (n + 20) for n in range(60)]


async def test_mistakes_under_a_known_head_are_told_as_under_a_new_one(run_server: Any) -> None:
    wrong = BODY.replace(b"[1, 2]", b"[[],2]")
    broken = b"{" + b"!" * (len(BODY) - 1)
    assert len(wrong) == len(broken) == len(BODY)

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        found = []
        for body in (BODY, wrong, broken, BODY, wrong, broken, BODY):
            writer.write(request(body))
            found.append(await answer_of(reader))
        writer.close()

    assert [status for status, _ in found] == [200, 422, 400, 200, 422, 400, 200]
    errors = [body["error"] for status, body in found if status != 200]
    assert [error["code"] for error in errors] == ["invalid_input", "invalid_request"] * 2
    assert all(error["request_id"] for error in errors)


async def test_a_page_may_read_the_answer_under_a_known_head(run_server: Any) -> None:
    async with run_server(ApiSettings(port=0, cors_origins=("https://pages.example",))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        heads = []
        for _ in range(3):
            writer.write(request(BODY, b"origin: https://pages.example"))
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()

    assert all(b"access-control-allow-origin: https://pages.example" in head.lower() for head in heads)


async def test_a_client_that_leaves_with_a_mistake_troubles_nobody(run_server: Any, caplog: Any) -> None:
    async with run_server() as server:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request(BAD))
            writer.transport.abort()
        answer = await server.exchange(request(BODY, b"connection: close"))

    assert answer.startswith(b"HTTP/1.1 200")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_tensors_behind_the_json_are_read_under_a_known_head(run_server: Any) -> None:
    json_part = (
        b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]}'
    )
    told = b"inference-header-content-length: %d" % len(json_part)

    async with run_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        found = []
        for n in range(4):
            body = json_part + struct.pack("<2f", n, 0)
            writer.write(request(body, told, path=b"/v2/models/double/infer"))
            found.append(await answer_of(reader))
        writer.close()

    assert [(status, body["outputs"][0]["data"]) for status, body in found] == [(200, [2 * n, 0]) for n in range(4)]
