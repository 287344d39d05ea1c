"""Is a server known by its right answer, and gone afterwards?"""

import sys
from pathlib import Path

import psutil
import pytest
from bench.running import NotServing, Question, free_port, post, running

SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(%d)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


def command(status: int, port: int) -> list[str]:
    return [sys.executable, "-c", SERVER % status, str(port)]


def question(expected: bytes = b"hello") -> Question:
    return Question(lambda port: post(port, "/", b"hello", {}), expected.__eq__)


def test_a_server_that_answers_right_is_watched_and_then_gone_with_its_children(tmp_path: Path) -> None:
    port = free_port()

    with running(command(200, port), {}, port, question(), log=tmp_path / "log") as found:
        family = found.family()
        assert len(family) == 2
        assert found.memory_mb() > 1 and found.cpu_s() > 0 and found.first_answer_s > 0

    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_wrong_first_answer_is_no_service(tmp_path: Path) -> None:
    port = free_port()

    with (
        pytest.raises(NotServing, match="wrong: b'hello'"),
        running(command(200, port), {}, port, question(b"bye"), log=tmp_path / "log"),
    ):
        pytest.fail("it was served")


def test_a_server_that_refuses_the_question_is_not_waited_for(tmp_path: Path) -> None:
    port = free_port()

    with (
        pytest.raises(NotServing, match="status 415"),
        running(command(415, port), {}, port, question(), log=tmp_path / "log"),
    ):
        pytest.fail("it was served")


def test_a_server_that_ends_is_quoted(tmp_path: Path) -> None:
    port = free_port()
    failing = [sys.executable, "-c", "raise SystemExit('the model is missing')"]

    with (
        pytest.raises(NotServing, match="exit code 1: the model is missing"),
        running(failing, {}, port, question(), log=tmp_path / "log"),
    ):
        pytest.fail("it was served")
