"""The promises of the first page, kept by a real server in a process of its own."""

import http.client
import json
import shutil
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.servers import Server, serving

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENTS = 32
TIMES = 200


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promises") / "digits"
    shutil.copytree(EXAMPLES / "digits", folder)
    pipeline = folder / "config/pipelines/digits.yaml"
    lines = [line for line in pipeline.read_text().splitlines(keepends=True) if not line.startswith("cache:")]
    pipeline.write_text("".join(lines))  # every answer is to be computed
    return folder


def upload(picture: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="d.png"\r\n'
    body = head.encode() + b"Content-Type: image/png\r\n\r\n" + picture + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def ask(connection: http.client.HTTPConnection, picture: bytes) -> tuple[int, Any]:
    body, headers = upload(picture)
    connection.request("POST", "/predict/image", body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.slow
def test_a_truncated_picture_among_32_requests_fails_alone_two_hundred_times(digits: Path) -> None:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    pictures = [(str(n % 10), (digits / f"examples/{names[n % 10]}.png").read_bytes()) for n in range(CLIENTS)]
    wrong: list[Any] = []

    with serving(digits) as server:
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(CLIENTS)]
        together = threading.Barrier(CLIENTS)

        def client(number: int) -> None:
            digit, picture = pictures[number]
            for turn in range(TIMES):
                together.wait(30)
                bad = turn % CLIENTS == number
                status, answer = ask(connections[number], picture[: len(picture) // 2] if bad else picture)
                if bad and (status, answer["error"]["code"]) == (422, "invalid_input"):
                    continue
                if not bad and status == 200 and answer["data"]["outputs"]["prediction"]["class_name"] == digit:
                    continue
                wrong.append((turn, number, status, answer))

        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(client, range(CLIENTS)))
        for connection in connections:
            connection.close()
        code = server.stop()

    assert wrong == []
    assert code == 0


@pytest.mark.slow
def test_sigterm_under_32_clients_answers_every_accepted_request_and_exits_with_0(digits: Path) -> None:
    picture = (digits / "examples/three.png").read_bytes()
    seen: Counter[str] = Counter()
    under_load, unready = threading.Barrier(CLIENTS + 1), threading.Event()

    def client(server: Server) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            keep_asking(connection)

    def keep_asking(connection: http.client.HTTPConnection) -> None:
        started = False
        while True:
            try:
                status, answer = ask(connection, picture)
            except (ConnectionRefusedError, http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # Closed before this request was taken: a client may send it again elsewhere.
                seen["not accepted"] += 1
                return
            except (http.client.HTTPException, OSError) as error:
                seen[f"half an answer: {error!r}"] += 1
                return
            seen[f"{status} {answer['data']['outputs']['prediction']['class_name']}"] += 1
            if not started:
                started = True
                under_load.wait(30)

    def watch(server: Server) -> None:
        while not unready.is_set():
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as probe:
                try:
                    probe.request("GET", "/readyz")
                    if probe.getresponse().status == 503:
                        unready.set()
                except (OSError, http.client.HTTPException):
                    return

    settings = digits / "config/main.yaml"
    before = settings.read_text()
    settings.write_text("api: {drain_delay_s: 0.5}\npipelines: {default: digits}\n")
    try:
        with serving(digits) as server, ThreadPoolExecutor(CLIENTS + 1) as clients:
            for _ in range(CLIENTS):
                clients.submit(client, server)
            under_load.wait(30)
            clients.submit(watch, server)
            code = server.stop()
    finally:
        settings.write_text(before)

    assert code == 0
    assert unready.is_set(), "readiness did not go before the connections"
    assert set(seen) <= {"200 3", "not accepted"}
    assert seen["200 3"] >= CLIENTS
