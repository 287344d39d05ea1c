"""Does `check` tell every mistake at once, and with `--load` whether the examples are answered?"""

import json
from pathlib import Path

import pytest

from headrace import assembly, serving
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

GOOD = """\
model: {name: inner, type: echo, input_spec: [{name: x, dtype: float32, shape: [-1, 2]}]}
examples: [{x: [1, 2]}, {x: [3, 4]}]
"""


def check(*arguments: str) -> int:
    commands = Commands(
        serving.serve,
        assembly.check,
        assembly.declared,
        assembly.open_application,
        serving.open_server,
        assembly.open_access,
        assembly.open_jobs,
    )
    return main(commands, ["check", *arguments])


@pytest.fixture(autouse=True)
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config" / "pipelines"
    folder.mkdir(parents=True)
    (tmp_path / "config" / "main.yaml").write_text("")
    (folder / "pairs.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_right_configuration_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    assert capsys.readouterr().out.startswith("ok: 1 pipeline")


def test_every_mistake_is_told_with_file_and_line(pipelines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pipelines / "pairs.yaml").write_text(GOOD + "timeot_s: 3\n")
    (pipelines.parent / "main.yaml").write_text("api:\n  prot: 9000\n")

    assert check() == 2

    shown = capsys.readouterr()
    assert "config/main.yaml:2: " in shown.out
    assert "config/pipelines/pairs.yaml:3: " in shown.out
    assert "did you mean" in shown.out
    assert shown.err == "error: 2 mistakes in the configuration\n"


def test_mistakes_as_json(pipelines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pipelines / "pairs.yaml").write_text(GOOD + "timeot_s: 3\n")

    assert check("--json") == 2

    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert len(report["mistakes"]) == 1


def test_load_runs_and_times_each_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--load", "--json") == 0

    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert [(one["pipeline"], one["state"], one["example"]) for one in report["examples"]] == [
        ("pairs", "ready", 1),
        ("pairs", "ready", 2),
    ]
    assert all(one["ms"] > 0 for one in report["examples"])


def test_load_shows_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--load") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pipeline", "version", "state", "example", "ms"]
    assert lines[-1].startswith("ok: 1 pipeline")


def test_an_example_that_fails_is_told(pipelines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing = 'model: {name: inner, type: echo, options: {fail_on: boom}}\nexamples: [{text: "boom"}]\n'
    (pipelines / "pairs.yaml").write_text(failing)

    assert check("--load") == 1

    shown = capsys.readouterr()
    assert "error: pairs@1: example 1: " in shown.err
    assert "ok" not in shown.out


def test_what_each_worker_keeps_for_itself_is_told(pipelines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pipelines / "pairs.yaml").write_text(GOOD + "cache: {ttl_s: 60}\n")
    (pipelines.parent / "main.yaml").write_text("api: {workers: 3}\n")

    assert check() == 0
    assert "warning: api.workers: each of the 3 workers keeps its own answers of pairs" in capsys.readouterr().out
