"""Callers' keys against real servers: known within a second, gone within a second, and safe when the state is away."""

import asyncio
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.end_to_end.servers import Server, serving
from tests.servers.postgresql import new_database, postgresql

from headrace.assembly import open_access
from headrace.services.access import Access

T = TypeVar("T")

TOKEN = "the-server's-own-token"
ROUNDS = 3
NOBODYS = "hr_0123456789abcdef_" + "x" * 43
MODEL = "type: echo\ninput_spec: [{name: x, dtype: int64, shape: [-1]}]\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / "shop.yaml").write_text(MODEL)
    configured(tmp_path)
    return tmp_path


def configured(workspace: Path, **sections: str) -> None:
    """Write the main file of *workspace*."""
    given = {"api": "{grpc_port: 0}", "auth": f'{{mode: token, token: "{TOKEN}"}}', **sections}
    (workspace / "config" / "main.yaml").write_text("".join(f"{name}: {text}\n" for name, text in given.items()))


def with_keys(workspace: Path, work: Callable[[Access], Coroutine[Any, Any, T]]) -> T:
    """What *work* does with the keys of *workspace*, as the command line does it."""

    async def run() -> T:
        async with open_access(workspace / "config" / "main.yaml") as (access, _):
            return await work(access)

    return asyncio.run(run())


def created(workspace: Path, name: str = "shop", lifetime_s: float | None = None) -> str:
    return with_keys(workspace, lambda access: access.create(name, lifetime_s=lifetime_s)).shown.reveal()


def ask(server: Server, key: str) -> tuple[int, str]:
    """The status of a request with *key* on a connection of its own, and the message if it failed."""
    request = urllib.request.Request(
        f"{server.url}/api/v1/inference",
        json.dumps({"pipeline": "shop", "inputs": {"x": 1}}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]["message"]


def again(connection: http.client.HTTPConnection, key: str) -> tuple[int, str]:
    """As `ask` on a connection that stays open; its head is the same each time."""
    headers = {"Content-Type": "application/json", "X-API-Key": key}
    connection.request("POST", "/api/v1/inference", b'{"pipeline": "shop", "inputs": {"x": 1}}', headers)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    return answer.status, told["error"]["message"] if "error" in told else ""


@contextmanager
def held(server: Server, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """So many connections that are open at once: each worker has its share of them."""
    with ExitStack() as opened:
        clients = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(count)]
        for client in clients:
            client.connect()
            opened.enter_context(closing(client))
        yield clients


def until(server: Server, key: str, wanted: int) -> float:
    """Seconds until a request with *key* has the status *wanted*."""
    return until_all(lambda: [ask(server, key)], wanted)


def until_all(answers: Callable[[], list[tuple[int, str]]], wanted: int) -> float:
    """Seconds until all *answers* have the status *wanted*."""
    began = time.monotonic()
    while any(status != wanted for status, _ in answers()):
        assert time.monotonic() < began + 20, answers()
    return time.monotonic() - began


def changes(
    workspace: Path, server: Server, answers: Callable[[str], list[tuple[int, str]]]
) -> list[tuple[float, float]]:
    """How long it took until a key was accepted and refused by all *answers*, for several keys."""
    took = []
    for number in range(ROUNDS):
        key = created(workspace, f"caller-{number}")
        accepted = until_all(lambda key=key: answers(key), 200)  # type: ignore[misc]
        with_keys(workspace, lambda access, name=f"caller-{number}": access.revoke(name))
        took.append((accepted, until_all(lambda key=key: answers(key), 401)))  # type: ignore[misc]
        for _, message in answers(key):
            assert f"the key 'caller-{number}' was revoked at " in message
        assert key not in server.log.read_text() and key[20:] not in server.log.read_text()
    return took


def test_a_running_server_knows_within_a_second_what_was_created_and_revoked(workspace: Path) -> None:
    with serving(workspace) as server:
        took = changes(workspace, server, lambda key: [ask(server, key)])
        by_token, by_nobody = ask(server, TOKEN), ask(server, NOBODYS)

    assert max(min(accepted for accepted, _ in took), min(refused for _, refused in took)) < 1
    assert (by_token[0], by_nobody[0]) == (200, 401)


@pytest.mark.slow
def test_all_workers_do(workspace: Path) -> None:
    configured(workspace, api="{grpc_port: 0, workers: 2}")
    with serving(workspace) as server, held(server, 8) as clients:
        took = changes(workspace, server, lambda key: [again(client, key) for client in clients])

    assert max(min(accepted for accepted, _ in took), min(refused for _, refused in took)) < 1


def test_a_key_that_was_there_before_is_known_from_the_start_and_an_expired_one_says_so(workspace: Path) -> None:
    lasting, short = created(workspace), created(workspace, "short", lifetime_s=0.5)
    with serving(workspace) as server:
        until(server, lasting, 200)
        until(server, short, 401)
        message = ask(server, short)[1]

    assert message.startswith("the key 'short' expired at 20") and message.endswith(" UTC")


def test_a_connection_that_stays_open_ends_with_its_key(workspace: Path) -> None:
    key = created(workspace)
    with serving(workspace) as server:
        until(server, key, 200)
        with held(server, 1) as (connection,):
            before = [again(connection, key)[0] for _ in range(3)]
            with_keys(workspace, lambda access: access.revoke("shop"))
            until(server, key, 401)
            after = again(connection, key)[0]

    assert (before, after) == ([200] * 3, 401)


def test_a_server_that_asks_for_nothing_asks_for_no_key_either(workspace: Path) -> None:
    configured(workspace, auth="{mode: none}")
    with serving(workspace) as server:
        assert ask(server, "anything")[0] == 200


@pytest.mark.slow
def test_while_the_state_is_away_known_keys_are_accepted_and_unknown_ones_asked_to_come_again(
    workspace: Path,
) -> None:
    with ExitStack() as database:
        url = new_database(database.enter_context(postgresql()), "shop")
        configured(workspace, state=f'{{url: "{url}"}}')
        known = created(workspace)
        with serving(workspace) as server:
            until(server, known, 200)
            database.close()
            until(server, NOBODYS, 503)
            answers = [ask(server, key) for key in (known, TOKEN, NOBODYS, "guessed")]
            log = server.log.read_text()

    assert [status for status, _ in answers] == [200, 200, 503, 401]
    assert answers[2][1] == "this key cannot be looked up: the state database does not answer; ask again"
    assert "the state database cannot be reached" in log
    assert "Traceback" not in log and known[20:] not in log and NOBODYS[20:] not in log
