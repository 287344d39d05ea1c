"""Can every server in the table be started as the table says?"""

import re
from pathlib import Path

import pytest
from bench.cells import CELLS
from bench.peers.onnx_rows import Settings
from bench.servers import SERVERS, Server, lay_out
from bench.work import Work, numbers, sentences

from bench import servers, venvs

PINNED = re.compile(r"^[a-z0-9-]+(\[[a-z]+\])?==[0-9.]+$")
OTHERS = [server for server in SERVERS.values() if server.venv != "headrace"]


def work(folder: Path, *, name: str = "tiny", text: bool = False) -> Work:
    file = folder / "model.onnx"
    file.write_bytes(b"a model")
    if text:
        (folder / "tokenizer.json").write_text("{}")
    return Work(name, name, file, [[1.0]], 2)


@pytest.mark.parametrize("server", OTHERS, ids=lambda server: server.name)
def test_every_peer_has_a_script_and_pinned_requirements(server: Server) -> None:
    requirements = (venvs.PEERS / server.venv / "requirements.txt").read_text().splitlines()
    wishes = [line for line in requirements if not line.startswith("#")]

    assert (venvs.PEERS / (server.script or server.venv) / "server.py").is_file()
    assert [line for line in wishes if not PINNED.match(line)] == []


@pytest.mark.parametrize("server", OTHERS, ids=lambda server: server.name)
def test_every_peer_is_tuned_for_every_cell(server: Server, tmp_path: Path) -> None:
    for name in ("tiny", "medium", "minilm"):
        for cell in CELLS.values():
            tuning = server.tuning(work(tmp_path, name=name), cell)
            assert tuning.batch >= 1 and max(1, tuning.workers) * tuning.threads <= 2


def test_a_peer_reads_the_settings_that_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, given = SERVERS["mosec"], work(tmp_path, name="minilm", text=True)
    variables = server.environment(given, server.tuning(given, CELLS["c64"]), 1234)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert Settings.read() == Settings("minilm", str(given.file), 1234, workers=2, threads=1, batch=32)
    assert Settings.read().column == "text"


def test_headrace_is_started_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LAID_OUT", tmp_path / "workspaces")
    server, given = SERVERS["headrace"], work(tmp_path)

    command = server.command(Path("python"), given, 1234)

    assert server.environment(given, server.tuning(given, CELLS["c1"]), 1234) == {}
    assert command[1:4] == ["-m", "headrace", "serve"] and command[-2:] == ["--port", "1234"]


def test_a_workspace_is_laid_out_with_its_model_and_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LAID_OUT", tmp_path / "workspaces")

    folder = lay_out(work(tmp_path, name="minilm", text=True))

    files = {file.relative_to(folder).as_posix() for file in (folder / "models").rglob("*") if file.is_file()}
    assert files == {"models/minilm/model.onnx", "models/minilm/tokenizer.json"}


def test_rows_are_the_same_every_time() -> None:
    assert numbers(4) == numbers(4) and len(numbers(784)) == 784
    assert len(set(sentences())) == 64
