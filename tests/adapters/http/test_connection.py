"""What is sent on one connection: offers of other protocols, requests that wait behind one, nonsense, and a client
that leaves."""

import asyncio
import json
from typing import Any

import pytest
from tests.adapters.http.test_swift import BODY, answer_of, request

SLOW = b'{"pipeline": "slow", "inputs": {"x": [1, 2]}}'
OTHER_WAY = b"content-encoding: identity"
H2C = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAoAAAAAIAAAAA")
CHUNKED = b"POST /api/v1/inference HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n"


def chunked(body: bytes, *headers: bytes) -> bytes:
    return CHUNKED + b"".join(header + b"\r\n" for header in headers) + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def opened(server: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.parametrize(
    "sent",
    [request(BODY, *H2C), chunked(BODY, *H2C), request(BODY, b"connection: upgrade", b"upgrade: websocket"),
     request(BODY, OTHER_WAY, *H2C)],
    ids=["whole", "chunked", "a WebSocket", "the other way"],
)  # fmt: skip
@pytest.mark.parametrize("pieces", [1, 2, 1000])
async def test_a_protocol_that_is_offered_and_not_spoken_leaves_a_request_as_it_is(
    run_server: Any, sent: bytes, pieces: int
) -> None:
    head = sent.index(b"\r\n\r\n") + 4
    cuts = {1: [len(sent)], 2: [head, len(sent)], 1000: range(1, len(sent) + 1)}[pieces]
    async with run_server() as server:
        reader, writer = await opened(server)
        for _ in range(3):
            start = 0
            for end in cuts:
                writer.write(sent[start:end])
                await writer.drain()
                await asyncio.sleep(0)
                start = end
            status, answer = await answer_of(reader)
            assert (status, answer["data"]["outputs"]) == (200, {"y": [2.0, 4.0]})
        writer.write(request())
        assert (await answer_of(reader))[0] == 200
        writer.close()


async def test_a_body_behind_an_offer_is_never_taken_for_a_request(run_server: Any) -> None:
    inner = b"GET /api/v1/models HTTP/1.1\r\nhost: t\r\n\r\n"

    async with run_server() as server:
        reader, writer = await opened(server)
        sent = request(inner, *H2C)
        writer.write(sent[: -len(inner)])
        await writer.drain()
        await server_turn()
        writer.write(inner)
        refused = await answer_of(reader)
        writer.write(request())
        after = await answer_of(reader)
        writer.close()

    assert (refused[0], refused[1]["error"]["code"]) == (400, "invalid_request")
    assert after[1]["data"]["outputs"] == {"y": [2.0, 4.0]}


async def server_turn() -> None:
    """The server, which shares our loop, takes in what has come."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_with_offers_one_behind_the_other_are_answered_in_order(run_server: Any) -> None:
    bodies = [b'{"pipeline": "double", "inputs": {"x": [%d, 0]}}' % (n + 20) for n in range(100)]

    async with run_server() as server:
        reader, writer = await opened(server)
        writer.write(b"".join(request(body, *(H2C if n % 3 else ())) for n, body in enumerate(bodies)))
        answers = [await answer_of(reader) for _ in bodies]
        writer.close()

    assert [answer["data"]["outputs"]["y"][0] for _, answer in answers] == [2.0 * (n + 20) for n in range(100)]


@pytest.mark.parametrize("extra", [(), (OTHER_WAY,)], ids=["shorter way", "normal way"])
async def test_many_small_requests_at_once_are_no_large_head(run_server: Any, extra: tuple[bytes, ...]) -> None:
    count, sent = 2000, request(BODY, *extra)
    assert count * len(sent) > 3 * 65_536

    async with run_server() as server:
        reader, writer = await opened(server)
        stream = sent * count
        for start in range(0, len(stream), 70_001):  # ends within a head, mostly
            writer.write(stream[start : start + 70_001])
            await server_turn()
        found = [(await answer_of(reader))[0] for _ in range(count)]
        writer.close()

    assert found == [200] * count


async def test_a_large_head_is_refused_also_when_it_comes_at_once(run_server: Any) -> None:
    async with run_server() as server:
        refused = await server.exchange(request(BODY, b"x-filler: " + b"a" * 70_000))
        taken = await server.exchange(request(BODY, b"x-filler: " + b"a" * 60_000, b"connection: close"))

    assert refused.startswith(b"HTTP/1.1 431 ")
    assert taken.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("extra", [(), (OTHER_WAY,)], ids=["shorter way", "normal way"])
@pytest.mark.parametrize("behind", [request(SLOW), request(SLOW, OTHER_WAY), b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n"])
async def test_a_client_that_leaves_requests_behind_each_other_frees_its_place_and_none_of_them_runs(
    run_server: Any, blocker: Any, eventually: Any, caplog: Any, extra: tuple[bytes, ...], behind: bytes
) -> None:
    async with run_server(recipes=[blocker.recipe]) as server:
        _, first = await opened(server)
        first.write(request(SLOW))
        await eventually(blocker.entered.is_set)
        _, writer = await opened(server)
        writer.write(request(SLOW, *extra) + behind * 3)
        await eventually(lambda: server.house.app.in_flight == 2)
        writer.transport.abort()
        await eventually(lambda: server.house.app.in_flight == 1)
        blocker.let_go.set()
        await eventually(lambda: server.house.app.in_flight == 0)
        first.close()

    assert blocker.calls == 1
    assert "Traceback" not in caplog.text and "failed" not in caplog.text


NONSENSE = {
    "no HTTP": (b"\x00\x01\x02 nonsense\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
    "a large head": (b"GET / HTTP/1.1\r\nhost: t\r\nx-filler: " + b"a" * 400_000, 431),
    "no chunk": (CHUNKED + b"\r\nzz\r\n", 400),
    "a tunnel": (b"CONNECT t:443 HTTP/1.1\r\nhost: t\r\n\r\n", 405),
    "an offered tunnel": (b"CONNECT t:443 HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: a\r\n\r\n", 405),
    "a coding": (CHUNKED.replace(b"chunked", b"gzip, chunked") + b"\r\n0\r\n\r\n", 501),
}


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("asked", [[()], [(OTHER_WAY,)], [(), (OTHER_WAY,), ()]], ids=["short", "normal", "several"])
async def test_nonsense_behind_requests_costs_none_of_them_its_answer(
    run_server: Any, blocker: Any, eventually: Any, kind: str, asked: list[tuple[bytes, ...]]
) -> None:
    nonsense, wanted = NONSENSE[kind]
    async with run_server(recipes=[blocker.recipe]) as server:
        reader, writer = await opened(server)
        writer.write(b"".join(request(SLOW, *extra) for extra in asked))
        await eventually(blocker.entered.is_set)
        writer.write(nonsense)
        await server_turn()
        blocker.let_go.set()
        answers = [await answer_of(reader) for _ in asked]
        refused = await answer_of(reader)
        end = await reader.read()
        writer.close()

    assert [answer["data"]["outputs"] for _, answer in answers] == [{"y": [2.0, 4.0]}] * len(asked)
    assert refused[0] == wanted
    assert len(refused[1]["error"]["request_id"]) == 32
    assert end == b""


async def test_what_is_refused_has_an_id_in_its_head_too(run_server: Any) -> None:
    async with run_server() as server:
        head, _, body = (await server.exchange(b"nonsense\r\n\r\n")).partition(b"\r\n\r\n")

    assert b"x-request-id: " + json.loads(body)["error"]["request_id"].encode() in head


@pytest.mark.parametrize(
    "target", [b"/v2/models/double/infer", b"/v2/models/double/infer?x=/infer", b"/v2/models/double/infer?x=1",
               b"/v2/models/double/infer#x/infer", b"http://t/v2/models/double/infer", b"http://t/v2/models/double/infer?x=/predict"]
)  # fmt: skip
async def test_a_target_means_the_same_on_either_way(run_server: Any, target: bytes) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()

    async with run_server() as server:
        short = await server.exchange(request(body, b"connection: close", path=target))
        other = await server.exchange(request(body, b"connection: close", OTHER_WAY, path=target))

    assert short.startswith(b"HTTP/1.1 200 ") and other.startswith(b"HTTP/1.1 200 ")


async def test_a_trailer_stands_for_no_header(run_server: Any) -> None:
    sent = chunked(BODY, b"connection: close")[:-2] + b"x-request-id: mine\r\nauthorization: Bearer mine\r\n\r\n"

    async with run_server() as server:
        answer = await server.exchange(sent)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"mine" not in answer


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 40_000, b"a: " + b"b" * 240_000], ids=["many", "one"])
async def test_trailers_without_end_are_refused(run_server: Any, trailers: bytes) -> None:
    async with run_server() as server:
        reader, writer = await opened(server)
        writer.write(CHUNKED + b'\r\n5\r\n{"a":\r\n0\r\n')
        for start in range(0, len(trailers), 1000):
            writer.write(trailers[start : start + 1000])
            await asyncio.sleep(0)
        status, answer = await answer_of(reader)
        writer.close()

    assert (status, answer["error"]["code"]) == (431, "too_large")


@pytest.mark.parametrize("cut", [1000, 30_000, 60_000])
async def test_a_large_head_is_refused_wherever_it_is_cut(run_server: Any, cut: int) -> None:
    sent = request(BODY, b"x-filler: " + b"a" * 70_000)

    async with run_server() as server:
        reader, writer = await opened(server)
        writer.write(sent[:cut])
        await server_turn()
        writer.write(sent[cut:])
        status, _ = await answer_of(reader)
        writer.close()

    assert status == 431


async def test_a_flood_of_requests_behind_one_that_runs_is_left_unread(
    run_server: Any, blocker: Any, eventually: Any
) -> None:
    ask = b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n"
    async with run_server(recipes=[blocker.recipe]) as server:
        reader, writer = await opened(server)
        writer.write(request(SLOW, OTHER_WAY))
        await eventually(blocker.entered.is_set)
        taken = 0
        flood = ask * 10_000
        for _ in range(200):  # until nothing more is taken: 60 MB would fit nowhere
            writer.write(flood)
            try:
                await asyncio.wait_for(writer.drain(), 0.2)
            except TimeoutError:
                break
            taken += 1
        blocker.let_go.set()
        statuses = [(await answer_of(reader))[0] for _ in range(200)]
        writer.transport.abort()

    assert taken < 100
    assert statuses == [200] * 200


async def test_a_socket_is_not_opened_past_a_request_that_waits(run_server: Any, blocker: Any, eventually: Any) -> None:
    upgrade = (
        b"GET /api/v1/streams/none HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with run_server(recipes=[blocker.recipe]) as server:
        reader, writer = await opened(server)
        writer.write(request(SLOW) + request(SLOW) + upgrade)
        await eventually(blocker.entered.is_set)
        await server_turn()
        blocker.let_go.set()
        found = [(await answer_of(reader))[0] for _ in range(3)]
        writer.close()

    assert found == [200, 200, 400]
