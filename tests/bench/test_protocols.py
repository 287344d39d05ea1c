"""Are the forms of the protocol compared with equal work, and is a wrong answer noticed?"""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from bench.protocols import CLIENTS, ECHO, FIGURES, MESSAGE, MIRROR, ROW, main, mirrored, serve

from bench import grpc_messages


def answered(row: list[float]) -> bytes:
    values = np.asarray(row, "<f4").tobytes()
    return bytes([6 << 3 | 2, 0xC0, 0x18]) + values


def test_every_figure_has_a_name_and_grpc_is_asked_by_two_clients() -> None:
    assert list(FIGURES) == ["vector", "image", "grpc"]
    assert list(CLIENTS) == ["h2load", "grpc.aio"]


def test_an_answer_is_right_when_it_holds_the_row() -> None:
    assert len(answered(ROW)) == 3 + 4 * 784
    assert mirrored(answered(ROW))
    assert not mirrored(answered([0.0] * 784))


def test_the_message_is_one_row_for_the_mirror() -> None:
    assert grpc_messages.request("mirror", "x", ROW) == MESSAGE
    assert (MIRROR / "config" / "main.yaml").is_file()


def test_headrace_is_started_as_it_comes() -> None:
    assert serve(Path("main.yaml"), "--port", "1") == [
        sys.executable, "-m", "headrace", "serve", "--config", "main.yaml", "--port", "1",
    ]  # fmt: skip


def test_the_echo_needs_nothing_of_headrace() -> None:
    tree = ast.parse(ECHO.read_text())
    imported = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}

    assert imported == {"asyncio", "grpc", "signal", "sys", "uvloop"}


def test_without_the_load_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert main(["--quick"]) == 2
    assert "please install it" in capsys.readouterr().err
