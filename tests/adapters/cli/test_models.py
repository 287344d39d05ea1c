"""Does `models` show what is declared without a server, and steer a server that runs?"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands
from headrace.domain.ports import Declared
from headrace.domain.spec import ModelSpec

DECLARED = Declared(models={("net", "1"): ModelSpec("net", "1", "onnx"), ("net", "2"): ModelSpec("net", "2", "echo")})


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("this command must not be reached")


def models(*arguments: str) -> int:
    return main(Commands(unused, unused, lambda _: DECLARED, unused, unused, unused, unused), ["models", *arguments])


@dataclass
class Peer:
    """A server that gives one answer and remembers what it was asked."""

    url: str
    status: int = 200
    body: bytes = b'{"success": true, "data": {"state": "ready"}}'
    asked: list[tuple[str, str, str, str | None]] = field(default_factory=list)


@pytest.fixture
def peer() -> Iterator[Peer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            found.asked.append((self.command, self.path, sent, self.headers.get("authorization")))
            self.send_response(found.status)
            self.send_header("content-length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Peer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "main.yaml").write_text("")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("workspace")
def test_declared_models_are_listed_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert models("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "version", "type", "device", "path"]
    assert lines[1].split() == ["net", "1", "onnx", "auto"]

    assert models("list", "--json") == 0
    assert [model["version"] for model in json.loads(capsys.readouterr().out)] == ["1", "2"]


@pytest.mark.usefixtures("workspace")
def test_a_declared_model_is_shown_by_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert models("show", "net@2", "--json") == 0

    assert json.loads(capsys.readouterr().out)["type"] == "echo"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(("name", "told"), [("ent", "did you mean 'net'?"), ("net@3", "there are: 1, 2")])
def test_an_undeclared_model_is_wrong_usage(name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("show", name) == 2
    assert told in capsys.readouterr().err


def test_steering_posts_to_the_server_with_the_token(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert models("reload", "a/b@2", "--url", peer.url, "--token", f"@{tmp_path / 'token'}") == 0

    assert peer.asked == [("POST", "/api/v1/models/a%2Fb/reload", '{"version": "2"}', "Bearer secret")]


def test_the_servers_own_error_is_told_with_its_meaning(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.status = 404
    peer.body = b'{"success": false, "error": {"code": "not_found", "message": "no model nit"}}'

    assert models("load", "nit", "--url", peer.url) == 2
    assert "error: no model nit" in capsys.readouterr().err


def test_a_refused_token_says_how_to_name_one(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    peer.status = 401
    peer.body = b'{"success": false, "error": {"code": "unauthenticated", "message": "no token"}}'

    assert models("list", "--url", peer.url) == 1
    assert "--token" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>hello"), (502, b"Bad Gateway"), (200, b"[1]"), (301, b"")])
def test_what_is_no_headrace_server_is_called_so(
    peer: Peer, status: int, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.status, peer.body = status, body

    assert models("list", "--url", peer.url) == 1
    assert "is not a Headrace server" in capsys.readouterr().err


def test_without_a_server_the_way_to_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert models("unload", "net", "--url", "http://127.0.0.1:1") == 1
    assert "no server answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_an_address_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert models("list", "--url", "localhost:8000") == 2
    assert "http://127.0.0.1:8000" in capsys.readouterr().err
