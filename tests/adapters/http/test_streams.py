"""Do events get into a stream over HTTP and WebSocket, and their answers back to those who sent them?"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headrace.adapters.credentials import Credentials
from headrace.adapters.http import streams_socket
from headrace.adapters.http.app import create_app
from headrace.adapters.http.serve import serve
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.spec import StreamSpec, Window
from headrace.infra.brokers.memory import MemoryBroker
from headrace.services.access import Access
from headrace.services.streams import Streams

SPEC = StreamSpec("doubles", "double", window=Window(max_events=8, max_ms=1))
SHOUTS = StreamSpec("shouts", "shout", window=Window(max_events=8, max_ms=1))


@dataclass
class Door:
    """A server with streams on a free port."""

    port: int
    streams: Streams
    stop: asyncio.Event
    done: "asyncio.Task[int]"

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/streams{path}"

    def socket(self, name: str = "doubles", **options: Any) -> Any:
        return connect(f"ws://127.0.0.1:{self.port}/api/v1/streams/{name}/ws", open_timeout=5, **options)


@pytest.fixture
def served(open_house: Any) -> Any:
    @asynccontextmanager
    async def open_door(
        specs: Sequence[StreamSpec] = (SPEC, SHOUTS), *, capacity: int = 1000, **options: Any
    ) -> AsyncIterator[Door]:
        settings = options.pop("settings", ApiSettings(port=0))
        house_options = {key: options.pop(key) for key in ("recipes", "start") if key in options}
        async with open_house(**house_options) as house:
            streams = Streams(MemoryBroker(capacity), house.inference)
            streams.start(specs)
            app = create_app(house.inference, house.deployments, settings, streams=streams, **options)
            stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
            done = asyncio.create_task(serve(app, settings, stop, listening.set_result))
            url = await asyncio.wait_for(listening, 10)
            try:
                yield Door(int(url.rpartition(":")[2]), streams, stop, done)
            finally:
                stop.set()
                await asyncio.wait_for(done, 10)
                await streams.drain(1)
                await streams.stop()

    return open_door


@pytest.fixture
async def door(served: Any) -> AsyncIterator[Door]:
    async with served() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=10) as found:
        yield found


async def said(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


# Events


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"x": [1, 2]}, 1),
        ([{"x": [1, 2]}, {"x": [3, 4]}], 2),
        ({"events": [{"x": [1, 2]}, {"x": [3, 4]}, {"x": [5, 6]}]}, 3),
    ],
)
async def test_events_are_taken_in_and_answered(
    door: Door, client: httpx2.AsyncClient, body: Any, count: int, eventually: Any
) -> None:
    answer = await client.post(door.url("/doubles/events"), json=body)

    assert answer.status_code == 202
    assert answer.json()["data"] == {"stream": "doubles", "accepted": count}
    await eventually(lambda: door.streams.get("doubles").progress.answered == count)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"[1]", 400, "invalid_request"),
        (b"null", 400, "invalid_request"),
        (b'{"events": [1]}', 400, "invalid_request"),
        (b'{"events": []}', 400, "invalid_request"),
        (b'[{"x": [1, 2]}, {"x"', 400, "invalid_request"),
        (b"[" * 100_000, 400, "invalid_request"),
        (b'{"x":' * 100_000, 400, "invalid_request"),
        (b"[" + b"{}," * 10_000 + b"{}]", 413, "too_large"),
        (b'{"x": "' + b"a" * 11_000_000 + b'"}', 413, "too_large"),
    ],
)
async def test_what_is_no_event_is_refused_and_nothing_is_taken_in(
    door: Door, client: httpx2.AsyncClient, body: bytes, status: int, code: str
) -> None:
    answer = await client.post(door.url("/doubles/events"), content=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert door.streams.get("doubles").lag == 0


async def test_a_full_topic_refuses_at_once_and_says_when_to_come_back(served: Any, client: httpx2.AsyncClient) -> None:
    async with served(capacity=10) as door:
        door.streams.get("doubles").pause()

        answers = [await client.post(door.url("/doubles/events"), json=[{"x": [1, 2]}] * 6) for _ in range(2)]
        door.streams.get("doubles").resume()

    assert [answer.status_code for answer in answers] == [202, 503]
    assert answers[1].json()["error"]["code"] == "overloaded"
    assert answers[1].headers["retry-after"] == "1"


async def test_a_stream_that_is_not_there_is_named(door: Door, client: httpx2.AsyncClient) -> None:
    answer = await client.post(door.url("/double/events"), json={"x": [1, 2]})

    assert answer.status_code == 404
    assert "doubles" in answer.json()["error"]["message"]


async def test_before_the_pipelines_are_loaded_streams_are_not_ready(served: Any, client: httpx2.AsyncClient) -> None:
    async with served((), start=False) as door:
        answer = await client.post(door.url("/doubles/events"), json={"x": [1, 2]})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


# Status


async def test_the_status_tells_state_progress_and_lag(door: Door, client: httpx2.AsyncClient, eventually: Any) -> None:
    await client.post(door.url("/doubles/events"), json=[{"x": [1, 2]}, {"z": 1}])
    await eventually(lambda: door.streams.get("doubles").lag == 0)

    listed = (await client.get(door.url())).json()["data"]["streams"]
    one = (await client.get(door.url("/doubles"))).json()["data"]

    assert [stream["name"] for stream in listed] == ["doubles", "shouts"]
    assert listed[0] == one
    assert (one["state"], one["pipeline"], one["lag"]) == ("running", "double", 0)
    assert one["progress"] == {"read": 2, "answered": 1, "dead_letters": 1, "batches": 1}
    assert one["topics"] == {"events": "doubles", "results": "doubles.results", "dead_letters": "doubles.dead"}


async def test_a_paused_stream_takes_events_in_and_answers_when_resumed(
    door: Door, client: httpx2.AsyncClient, eventually: Any
) -> None:
    paused = await client.post(door.url("/doubles/pause"))
    await client.post(door.url("/doubles/events"), json={"x": [1, 2]})
    waiting = (await client.get(door.url("/doubles"))).json()["data"]

    resumed = await client.post(door.url("/doubles/resume"))

    assert (paused.json()["data"]["state"], resumed.json()["data"]["state"]) == ("paused", "running")
    assert (waiting["lag"], waiting["progress"]["read"]) == (1, 0)
    await eventually(lambda: door.streams.get("doubles").progress.answered == 1)


async def test_the_documentation_shows_the_calls(door: Door, client: httpx2.AsyncClient) -> None:
    paths = (await client.get(f"http://127.0.0.1:{door.port}/openapi.json")).json()["paths"]

    own = {path.removeprefix("/api/v1/streams") for path in paths if path.startswith("/api/v1/streams")}
    assert own == {"", *(f"/{{name}}{end}" for end in ("", "/events", "/results", "/ws", "/pause", "/resume"))}


# Following results


async def test_results_and_dead_letters_are_followed_as_server_sent_events(
    door: Door, client: httpx2.AsyncClient
) -> None:
    async with client.stream("GET", door.url("/doubles/results")) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": following"
        await client.post(door.url("/doubles/events"), json=[{"x": [1, 2]}, {"x": [13, 1]}])
        seen = [line for line in [await anext(lines) for _ in range(7)] if line]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert seen[0::2] == ["event: result", "event: dead_letter"]
    found, dead = (json.loads(line.removeprefix("data: ")) for line in seen[1::2])
    assert found == {"pipeline": "double", "version": "1", "position": 0, "outputs": {"y": [2.0, 4.0]}}
    assert (dead["error"]["code"], dead["position"]) == ("model_failure", 1)
    assert json.loads(dead["value"]) == {"x": [13, 1]}
    assert "/srv/secret" not in dead["error"]["message"]


async def test_a_follower_that_leaves_is_forgotten(door: Door, client: httpx2.AsyncClient, eventually: Any) -> None:
    broker: Any = door.streams._broker
    async with client.stream("GET", door.url("/doubles/results")) as answer:
        await anext(answer.aiter_lines())
        assert len(broker._topics["doubles.results"].followers) == 1

    await eventually(lambda: not broker._topics["doubles.results"].followers)


async def test_followers_do_not_hold_up_the_stop(door: Door, client: httpx2.AsyncClient) -> None:
    async with client.stream("GET", door.url("/doubles/results")) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        door.stop.set()

        rest = [line async for line in lines if line]
        cut = await asyncio.wait_for(door.done, 5)

    assert (rest, cut) == ([], 0)


# WebSocket


async def test_each_event_on_a_socket_gets_its_own_answer_with_its_id(door: Door) -> None:
    async with door.socket() as socket:
        for number in range(20, 40):
            await socket.send(json.dumps({"id": f"n{number}", "x": [number, 0]}))
        answers = [await said(socket) for _ in range(20)]

    assert {answer["id"]: answer["outputs"]["y"][0] for answer in answers} == {f"n{n}": 2.0 * n for n in range(20, 40)}


async def test_connections_get_the_answers_to_their_own_events_alone(door: Door, client: httpx2.AsyncClient) -> None:
    async with door.socket() as one, door.socket() as other:
        await client.post(door.url("/doubles/events"), json={"x": [100, 0]})
        await one.send('{"id": 1, "x": [1, 0]}')
        await other.send('{"id": 1, "x": [2, 0]}')

        found = [(await said(socket))["outputs"]["y"][0] for socket in (one, other)]

    assert found == [2.0, 4.0]


async def test_an_event_without_an_id_is_answered_without_one(door: Door) -> None:
    async with door.socket() as socket:
        await socket.send('{"x": [1, 2]}')
        answer = await said(socket)

    assert answer.keys() == {"pipeline", "version", "position", "outputs"}


async def test_a_failed_event_comes_back_with_its_code(door: Door) -> None:
    async with door.socket() as socket:
        await socket.send('{"id": 7, "x": [13, 0]}')
        answer = await said(socket)

    assert (answer["id"], answer["error"]["code"]) == (7, "model_failure")
    assert json.loads(answer["value"]) == {"x": [13, 0]}
    assert "/srv/secret" not in answer["error"]["message"]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{nonsense",
        "[1]",
        "3",
        '{"x": [1,',
        "[" * 100_000,
        '{"x":' + "[" * 100_000,
        b"\xff\xfe",
        b'{"x": [1, 2], "id": "\xff"}',
        '{"id": {"a": 1}, "x": [1, 2]}',
        '{"id": "' + "a" * 200 + '", "x": [1, 2]}',
    ],
    ids=range(11),
)
async def test_a_frame_that_is_no_event_is_told_and_the_connection_stays(door: Door, frame: Any) -> None:
    async with door.socket() as socket:
        await socket.send(frame)
        refused = await said(socket)
        await socket.send('{"id": 1, "x": [1, 2]}')
        answered = await said(socket)

    assert refused["error"]["code"] == "invalid_request"
    assert answered["outputs"] == {"y": [2.0, 4.0]}


async def test_a_frame_that_is_too_large_ends_the_connection_with_1009(served: Any) -> None:
    async with served(settings=ApiSettings(port=0, max_body_mb=0.01)) as door, door.socket() as socket:
        await socket.send('{"x": "' + "a" * 20_000 + '"}')
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_text_that_is_no_utf8_ends_the_connection_with_1007_and_writes_no_traceback(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    async with door.socket() as socket:
        await socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_reading_pauses_while_too_much_is_unanswered_and_then_goes_on(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_socket, "UNANSWERED", 4)
    stream = door.streams.get("doubles")
    stream.pause()
    async with door.socket() as socket:
        for number in range(10):
            await socket.send(json.dumps({"id": number, "x": [number, 0]}))
        async with asyncio.timeout(10):
            while stream.lag < 4:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        held = stream.lag
        stream.resume()
        answers = [(await said(socket))["id"] for _ in range(10)]

    assert held == 4
    assert sorted(answers) == list(range(10))


async def test_an_event_that_finds_no_room_for_long_is_refused(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_socket, "UNANSWERED", 1)
    monkeypatch.setattr(streams_socket, "PATIENCE_S", 0.02)
    stream = door.streams.get("doubles")
    stream.pause()
    async with door.socket() as socket:
        await socket.send('{"id": "first", "x": [1, 2]}')
        await socket.send('{"id": "second", "x": [1, 2]}')
        refused = await said(socket)
        stream.resume()
        answered = await said(socket)

    assert (refused["id"], refused["error"]["code"]) == ("second", "overloaded")
    assert answered["id"] == "first"


async def test_a_full_topic_refuses_the_event_alone(served: Any) -> None:
    async with served(capacity=1) as door:
        door.streams.get("doubles").pause()
        async with door.socket() as socket:
            await socket.send('{"id": 1, "x": [1, 2]}')
            await socket.send('{"id": 2, "x": [1, 2]}')
            refused = await said(socket)
            door.streams.get("doubles").resume()
            answered = await said(socket)

    assert (refused["id"], refused["error"]["code"]) == (2, "overloaded")
    assert answered["id"] == 1


async def test_a_client_that_leaves_is_forgotten(door: Door, eventually: Any) -> None:
    broker: Any = door.streams._broker
    door.streams.get("doubles").pause()
    async with door.socket() as socket:
        await socket.send('{"x": [1, 2]}')
        await eventually(lambda: door.streams.get("doubles").lag == 1)

    await eventually(lambda: not broker._topics["doubles.results"].followers)
    door.streams.get("doubles").resume()


async def test_a_stop_answers_what_was_sent_and_closes_with_1001(served: Any) -> None:
    slow = StreamSpec("doubles", "double", window=Window(max_events=100, max_ms=60_000))
    async with served((slow,)) as door, door.socket() as socket:
        await socket.send('{"id": 1, "x": [1, 2]}')
        async with asyncio.timeout(10):
            while door.streams.get("doubles").lag < 1:
                await asyncio.sleep(0.002)
        door.stop.set()

        answer = await said(socket)
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)
        cut = await asyncio.wait_for(door.done, 5)

    assert answer["outputs"] == {"y": [2.0, 4.0]}
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, cut) == (1001, 0)


async def test_a_token_is_demanded_and_may_come_as_a_subprotocol(served: Any) -> None:
    async with served(token="open-sesame") as door:
        with pytest.raises(InvalidStatus) as refused:
            async with door.socket():
                pass
        async with door.socket(additional_headers={"Authorization": "Bearer open-sesame"}) as socket:
            await socket.send('{"x": [1, 2]}')
            by_header = await said(socket)
        async with door.socket(subprotocols=["headrace", "bearer.open-sesame"]) as socket:
            await socket.send('{"x": [1, 2]}')
            by_protocol = await said(socket)
            chosen = socket.subprotocol

    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "unauthenticated"
    assert by_header["outputs"] == by_protocol["outputs"] == {"y": [2.0, 4.0]}
    assert chosen == "headrace"


async def test_a_key_that_is_revoked_sends_no_more_events_over_an_open_socket(served: Any, access: Access) -> None:
    key = (await access.create("shop")).shown.reveal()
    await access.refresh()
    async with (
        served(token=Credentials("t", access)) as door,
        door.socket(additional_headers={"X-API-Key": key}) as socket,
    ):
        await socket.send('{"x": [1, 2], "id": 1}')
        before = await said(socket)
        await access.revoke("shop")
        await access.refresh()
        await socket.send('{"x": [1, 2], "id": 2}')
        after = await said(socket)

    assert before["outputs"] == {"y": [2.0, 4.0]}
    assert (after["id"], after["error"]["code"]) == (2, "unauthenticated")
    assert "the key 'shop' was revoked" in after["error"]["message"]


async def test_a_page_of_another_origin_may_not_open_one(door: Door) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with door.socket(origin="https://elsewhere.example"):
            pass

    assert refused.value.response.status_code == 403


async def test_a_socket_to_nowhere_is_refused_with_404(door: Door) -> None:
    with pytest.raises(InvalidStatus) as no_stream:
        async with door.socket("nothing"):
            pass
    with pytest.raises(InvalidStatus) as no_path:
        async with connect(f"ws://127.0.0.1:{door.port}/livez"):
            pass

    assert [found.value.response.status_code for found in (no_stream, no_path)] == [404, 404]


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/v1/streams/doubles/ws HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET /api/v1/streams/doubles/ws HTTP/1.1\r\n",
        b"GET /api/v1/streams/doubles/ws HTTP/1.1\r\nsec-websocket-key: short\r\n",
        b"GET /api/v1/streams/doubles/ws HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + b"x-a: b\r\n" * 200,
    ],
    ids=["post", "no key", "bad key", "many headers"],
)
async def test_a_bad_handshake_is_refused_and_not_left_waiting(door: Door, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(head + b"host: t\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n")
    writer.write(b"content-length: 0\r\n\r\n")
    status = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()

    assert status.split()[1] in (b"400", b"405", b"426")
