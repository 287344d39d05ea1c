"""Does everything that the pages tell a reader to type work, literally, and answer as they say?"""

import doctest
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8000"
READY_LIMIT_S = 60.0


@dataclass
class Command:
    """One line that the reader types, and what the page says that it prints."""

    text: str
    expected: str


@dataclass
class Reader:
    """Somebody who types what a page says; only the port is another, since 8000 may be taken here."""

    folder: Path
    port: int
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def type(self, command: Command) -> str:
        """Run *command* and return what it printed."""
        if command.text.startswith("cd "):
            self.folder /= command.text[3:]
            return ""
        if command.text.startswith("headrace serve"):
            self.serve(command.text)
            return ""
        text = command.text.replace(ADDRESS, f"127.0.0.1:{self.port}")
        if text.startswith("headrace models reload"):
            text += f" --url http://127.0.0.1:{self.port}"
        done = subprocess.run(
            ["bash", "-c", text], cwd=self.folder, env=self.environment(), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        mistakes = "did you mean" in command.expected and text.startswith("headrace")
        assert done.returncode == (2 if mistakes else 0), f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout.replace(f"127.0.0.1:{self.port}", ADDRESS)

    def serve(self, text: str) -> None:
        command = ["bash", "-c", f"exec {text} --port {self.port}"]
        self.servers.append(subprocess.Popen(command, cwd=self.folder, env=self.environment()))
        started = time.monotonic()
        while not self.ready():
            assert self.servers[-1].poll() is None, "the server ended before it was ready"
            assert time.monotonic() - started < READY_LIMIT_S
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def leave(self) -> list[int]:
        """Stop the servers as Ctrl-C would; their exit codes."""
        for server in self.servers:
            server.terminate()
        return [server.wait(45) for server in self.servers]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    somebody = Reader(tmp_path, free_port())
    yield somebody
    for server in somebody.servers:
        if server.poll() is None:
            server.kill()
            server.wait()


def commands(page: str) -> list[Command]:
    """What the console blocks of *page* tell to type; `make` and `git` are for a clone and are tested there."""
    found: list[Command] = []
    for block in BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            count = next(number for number in range(1, len(lines) + 1) if is_whole("\n".join(lines[:number])))
            found.append(Command("\n".join(lines[:count]), "\n".join(lines[count:])))
    return [command for command in found if not command.text.startswith(("make", "git", ". "))]


def is_whole(typed: str) -> bool:
    """Whether the shell would run *typed* now: no line goes on, and no quotation is open."""
    return not typed.endswith("\\") and typed.count("'") % 2 == 0


def python_blocks(page: str) -> list[str]:
    """The Python programs that *page* shows whole: those that run something."""
    return [block for block in PYTHON.findall(page) if "asyncio.run(" in block]


def agrees(expected: str, printed: str) -> bool:
    """Whether *printed* is what the page shows, whose ``...`` stands for anything and whose line breaks for none."""
    if not expected:
        return True
    bare = ["".join(text.split()) + "\n" for text in (expected, printed)]
    return doctest.OutputChecker().check_output(bare[0], bare[1], doctest.ELLIPSIS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["examples/digits/README.md", "examples/hello/README.md", "README.md", "docs/quickstart.md"]
)
def test_a_reader_who_types_what_the_page_says_sees_what_it_shows(reader: Reader, page: str) -> None:
    typed = commands((ROOT / page).read_text())
    if page == "examples/hello/README.md":  # it lies in the workspace that it is about
        typed = [Command("headrace init hello", ""), Command("cd hello", ""), *typed]

    for command in typed:
        printed = reader.type(command)
        assert agrees(command.expected, printed), f"{page}: {command.text}\nprinted: {printed}"

    assert typed
    assert reader.leave() == [0] * len(reader.servers)


@pytest.mark.slow
def test_the_python_of_the_readme_answers(tmp_path: Path) -> None:
    [program] = python_blocks((ROOT / "README.md").read_text())
    subprocess.run([BIN / "headrace", "init", "tour", "--example", "digits"], cwd=tmp_path, check=True, timeout=60)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert "'class_name': '3'" in done.stdout


def test_commands_are_told_from_what_they_print() -> None:
    page = "```console\n$ make demo\n$ one \\\n    two\nout\nmore\n$ three\n```\n```yaml\n$ no\n```\n"

    assert commands(page) == [Command("one \\\n    two", "out\nmore"), Command("three", "")]


def test_a_command_goes_on_while_a_quotation_is_open() -> None:
    assert commands("```console\n$ ask '{\n  1}'\nout\n```\n") == [Command("ask '{\n  1}'", "out")]


def test_a_wrong_answer_is_noticed() -> None:
    assert agrees('{"a": 1,\n  ...}', '{"a":1,"b":2}')
    assert not agrees('{"a": 2, ...}', '{"a":1,"b":2}')
