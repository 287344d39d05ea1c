"""Does the demo notice, and say plainly, what keeps it from running?"""

import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"
DEMO = runpy.run_path(str(SCRIPT))
Failure = DEMO["Failure"]


class Recorder(BaseHTTPRequestHandler):
    """Ready at once; answers any POST with the name of the file that came."""

    def do_GET(self) -> None:
        self.reply(b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200 if b'filename="three.png"' in body and b"\r\n\r\nPNG\r\n--" in body else 422
        self.reply(b'{"success": true}', status)

    def reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[int]:
    """The port of a private server that records what it is sent."""
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_server_that_dies_before_it_is_ready_is_noticed_at_once() -> None:
    with child("raise SystemExit(3)") as process, pytest.raises(Failure, match="exit code 3 before it was ready"):
        DEMO["wait_until_ready"](process, DEMO["free_port"]())


def test_a_server_that_never_gets_ready_is_given_up() -> None:
    with child("input()") as process:
        with pytest.raises(Failure, match="not ready after 0 s"):
            DEMO["wait_until_ready"](process, DEMO["free_port"](), 0.0)
        process.kill()


def test_a_ready_server_is_recognised(recorder: int, capsys: pytest.CaptureFixture[str]) -> None:
    with child("input()") as process:
        DEMO["wait_until_ready"](process, recorder)
        process.kill()

    assert "ready in" in capsys.readouterr().out


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, SCRIPT, "serve", "--workspace", tmp_path / "demo", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"port {port}" in done.stderr and "DEMO_PORT=" in done.stderr
    assert not (tmp_path / "demo").exists()


def test_a_file_is_sent_as_curl_would_send_it(recorder: int, tmp_path: Path) -> None:
    picture = tmp_path / "three.png"
    picture.write_bytes(b"PNG")

    assert DEMO["post_file"](recorder, "/predict/image", picture) == {"success": True}


def test_an_error_answer_fails_the_demo(recorder: int, tmp_path: Path) -> None:
    picture = tmp_path / "three.png"
    picture.write_bytes(b"GIF")

    with pytest.raises(Failure, match="answered 422"):
        DEMO["post_file"](recorder, "/predict/image", picture)


def test_a_wrong_digit_fails_the_demo() -> None:
    answer = {"data": {"outputs": {"prediction": {"class_name": "8"}}}}

    with pytest.raises(Failure, match=r"shows a 3.*'8'"):
        DEMO["require_digit"](answer)


def test_a_server_that_ends_badly_on_sigterm_fails_the_demo() -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(4)); print(flush=True); input()"
    with child(code) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its handler is in place

        with pytest.raises(Failure, match="exit code 4, not 0"):
            DEMO["stop"](process)
