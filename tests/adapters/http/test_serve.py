"""Does the server start, take what HTTP allows, and stop without losing an accepted request?"""

import asyncio
import json
import socket
from typing import Any

import httpx2
import pytest

from headrace.adapters.http.serve import address_of, bind
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import InvalidConfig

BODY = b'{"pipeline": "double", "inputs": {"x": [1, 2]}}'
SLOW = {"pipeline": "slow", "inputs": {"x": [1, 2]}}


def request(body: bytes = BODY, *headers: bytes, path: bytes = b"/api/v1/inference") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: t", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


async def test_a_real_request_gets_a_real_answer(run_server: Any) -> None:
    async with run_server() as server:
        status, headers, body = parsed(await server.exchange(request(BODY, b"connection: close")))

    assert status == 200
    assert json.loads(body)["data"]["outputs"] == {"y": [2.0, 4.0]}
    assert "server" not in headers
    assert "date" in headers


async def test_requests_in_one_packet_are_answered_in_order(run_server: Any) -> None:
    bodies = [b'{"pipeline": "double", "inputs": {"x": [%d, 0]}}' % n for n in range(5)]
    sent = b"".join(map(request, bodies)) + request(BODY, b"connection: close")

    async with run_server() as server:
        answer = await server.exchange(sent)

    found = [json.loads(part.partition(b"\r\n\r\n")[2])["data"]["outputs"]["y"][0] for part in _answers(answer)]
    assert found == [0, 2, 4, 6, 8, 2]


def _answers(stream: bytes) -> list[bytes]:
    return [b"HTTP/1.1" + part for part in stream.split(b"HTTP/1.1") if part]


async def test_a_chunked_body_is_read_and_bounded(run_server: Any) -> None:
    head = b"POST /api/v1/inference HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n"
    good = head + b"connection: close\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    long = head + b"\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 20

    async with run_server(ApiSettings(port=0, max_body_mb=1)) as server:
        fine = parsed(await server.exchange(good))
        refused = parsed(await server.exchange(long))

    assert fine[0] == 200
    assert refused[0] == 413
    assert refused[1]["connection"] == "close"


async def test_an_announced_body_is_refused_without_waiting_for_it(run_server: Any) -> None:
    sent = b"POST /api/v1/inference HTTP/1.1\r\nhost: t\r\ncontent-length: 2147483648\r\n\r\n{"

    async with run_server() as server:
        status, headers, body = parsed(await asyncio.wait_for(server.exchange(sent), 1))

    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: t\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_the_next_request_answered(run_server: Any, sent: bytes) -> None:
    async with run_server() as server:
        status, headers, body = parsed(await server.exchange(sent))
        after = parsed(await server.exchange(request(BODY, b"connection: close")))

    assert status == 400
    assert headers["connection"] == "close"
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert after[0] == 200


async def test_headers_without_end_are_refused(run_server: Any) -> None:
    sent = b"GET /livez HTTP/1.1\r\n" + b"x-filler: " + b"a" * 50_000 + b"\r\nx-more: " + b"b" * 300_000

    async with run_server() as server:
        status, _, body = parsed(await server.exchange(sent))

    assert status == 431
    assert json.loads(body)["error"]["code"] == "too_large"


async def test_a_client_that_leaves_within_its_body_harms_nobody(run_server: Any, eventually: Any) -> None:
    async with run_server() as server:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request()[:-10])
            await writer.drain()
            writer.transport.abort()
        await eventually(lambda: server.house.app.in_flight == 0)
        status, _, _ = parsed(await server.exchange(request(BODY, b"connection: close")))

    assert status == 200


async def test_the_place_of_a_client_that_left_is_free_soon(run_server: Any, blocker: Any, eventually: Any) -> None:
    async with run_server(recipes=[blocker.recipe]) as server:
        body = json.dumps(SLOW).encode()
        writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(3)]
        for writer in writers:
            writer.write(request(body))
            await writer.drain()
        await eventually(lambda: server.house.app.in_flight == 3 and blocker.entered.is_set())
        for writer in writers:
            writer.transport.abort()

        await eventually(lambda: server.house.app.in_flight == 0)
        blocker.let_go.set()
        async with httpx2.AsyncClient() as client:
            answer = await client.post(f"{server.url}/api/v1/inference", json=SLOW)

    assert answer.json()["data"]["outputs"] == {"y": [2.0, 4.0]}
    assert blocker.calls <= 2  # the first one ran already when its caller left; those behind it never did


async def test_a_neighbour_of_a_client_that_left_gets_its_answer(
    run_server: Any, blocker: Any, eventually: Any
) -> None:
    async with run_server(recipes=[blocker.recipe]) as server, httpx2.AsyncClient() as client:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(json.dumps(SLOW).encode()))
        await eventually(blocker.entered.is_set)
        staying = asyncio.create_task(client.post(f"{server.url}/api/v1/inference", json=SLOW, timeout=10))
        await eventually(lambda: server.house.app.in_flight == 2)
        writer.transport.abort()
        await eventually(lambda: server.house.app.in_flight == 1)
        blocker.let_go.set()

        answer = await staying

    assert answer.status_code == 200


async def test_stopping_answers_what_was_accepted(run_server: Any, blocker: Any, eventually: Any) -> None:
    async with run_server(recipes=[blocker.recipe]) as server, httpx2.AsyncClient() as client:
        url = f"{server.url}/api/v1/inference"
        waiting = [asyncio.create_task(client.post(url, json=SLOW, timeout=10)) for _ in range(8)]
        await eventually(lambda: server.house.app.in_flight == 8 and blocker.entered.is_set())
        server.stop.set()
        await eventually(lambda: server.house.app.draining)
        blocker.let_go.set()

        answers = await asyncio.gather(*waiting)
        cut = await server.done

    assert [answer.status_code for answer in answers] == [200] * 8
    assert cut == 0


async def test_readiness_goes_first_and_requests_go_on(run_server: Any) -> None:
    async with run_server(ApiSettings(port=0, drain_delay_s=0.3)) as server, httpx2.AsyncClient() as client:
        await client.get(f"{server.url}/livez")
        server.stop.set()
        async with asyncio.timeout(5):
            while (ready := await client.get(f"{server.url}/readyz")).status_code == 200:
                pass
        answer = await client.post(f"{server.url}/api/v1/inference", content=BODY)
        await server.done
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{server.url}/livez")

    assert ready.json()["error"]["code"] == "not_ready"
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"


async def test_stopping_under_load_loses_no_accepted_request(run_server: Any, eventually: Any) -> None:
    answered: list[int] = []
    broken: list[BaseException] = []

    async def keep_asking(url: str) -> None:
        async with httpx2.AsyncClient() as client:
            while True:
                try:
                    answered.append((await client.post(url, content=BODY)).status_code)
                except httpx2.ConnectError:
                    return  # nobody accepts any more
                except httpx2.HTTPError as error:
                    broken.append(error)
                    return

    async with run_server() as server:
        url = f"{server.url}/api/v1/inference"
        clients = [asyncio.create_task(keep_asking(url)) for _ in range(32)]
        await eventually(lambda: len(answered) > 300)
        server.stop.set()
        cut = await server.done
        await asyncio.wait_for(asyncio.gather(*clients), 10)

    assert set(answered) == {200}
    assert broken == []
    assert cut == 0


async def test_who_cannot_be_answered_in_time_is_told_so(run_server: Any, blocker: Any, eventually: Any) -> None:
    settings = ApiSettings(port=0, drain_s=0.05)
    async with run_server(settings, recipes=[blocker.recipe]) as server, httpx2.AsyncClient() as client:
        waiting = asyncio.create_task(client.post(f"{server.url}/api/v1/inference", json=SLOW, timeout=10))
        await eventually(blocker.entered.is_set)
        server.stop.set()

        answer = await waiting
        cut = await server.done
        blocker.let_go.set()

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert cut == 1


async def test_idle_connections_do_not_hold_up_the_stop(run_server: Any) -> None:
    async with run_server() as server:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        half = await asyncio.open_connection("127.0.0.1", server.port)
        half[1].write(b"POST /api/v1/inf")
        await half[1].drain()
        server.stop.set()

        cut = await asyncio.wait_for(server.done, 5)
        ends = [await reader.read() for reader, _ in [*idle, half]]
        for _, writer in [*idle, half]:
            writer.close()
            await writer.wait_closed()

    assert cut == 0
    assert ends == [b""] * 4


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(InvalidConfig, match=f"port {port}.*api.port"):
            bind("127.0.0.1", port)


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(InvalidConfig, match=r"api\.host"):
        bind("256.1.1.1.invalid.", 0)


def test_the_address_is_shown_as_a_url() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
