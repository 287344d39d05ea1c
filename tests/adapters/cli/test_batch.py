"""Does `headrace batch run` answer a file as it was asked to, and tell what came of it?"""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import assembly, serving
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

ECHO = """\
model:
  name: numbers
  type: echo
  input_spec: [{name: x, dtype: float32, shape: [-1]}]
"""
XTERM = os.environ | {"TERM": "xterm"}
STUCK = """\
import os
import threading
from pathlib import Path

from headrace.domain.step import step
from headrace.domain.tensors import TensorSpec

X = {"x": TensorSpec("float32", (-1,))}


@step(reads=X, writes=X)
def stuck(x):
    if os.environ.get("STUCK") and (x > 3).any():
        Path(os.environ["STUCK"]).write_text("here")
        threading.Event().wait()
    return x
"""


def batch(*arguments: str) -> int:
    commands = Commands(
        serving.serve, assembly.check, assembly.declared, assembly.open_application, serving.open_server
    )
    return main(commands, ["batch", "run", *arguments])


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("config/pipelines", "steps"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config" / "main.yaml").write_text("")
    (tmp_path / "config" / "pipelines" / "echo.yaml").write_text(ECHO + "preprocessing: [{name: stuck}]\n")
    (tmp_path / "steps" / "stuck.py").write_text(STUCK)
    (tmp_path / "in.csv").write_text("id,x\na,1\nb,two\nc,3.5\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_answered_and_failed_rows_are_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = batch("echo", "--input", "in.csv", "--output", "out.csv", "--keep", "id", "--row-number")

    assert code == 0
    assert (workspace / "out.csv").read_text() == "row,id,x\n1,a,1.0\n3,c,3.5\n"
    told = capsys.readouterr()
    assert told.out.startswith("echo@1: 2 rows to out.csv in ")
    assert told.out.endswith("1 row failed: see out.csv.errors.jsonl\n")
    assert told.err == ""


def test_json_tells_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("echo@1", "--input", "in.csv", "--output", "out.parquet", "--errors", "bad.jsonl", "--json") == 0

    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told.pop("seconds") >= 0 and told.pop("rows_per_s") > 0
    assert told == {
        "pipeline": "echo", "version": "1", "input": "in.csv", "output": "out.parquet", "errors": "bad.jsonl",
        "rows": 3, "written": 2, "failed": 1,
    }  # fmt: skip


def test_exit_codes_tell_how_much_failed(workspace: Path) -> None:
    (workspace / "bad.csv").write_text("x\none\ntwo\n")

    assert batch("echo", "--input", "in.csv", "--output", "out.csv", "--strict") == 1
    assert batch("echo", "--input", "bad.csv", "--output", "out.csv") == 1
    assert (workspace / "out.csv").read_text() == "x\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--input", "none.csv", "--output", "out.csv"], "there is no file none.csv"),
        (["--input", "in.csv", "--output", "out.xls"], "the end of a name tells the format"),
        (["--input", "in.csv", "--output", "out.csv", "--keep", "idd"], "did you mean 'id'?"),
        (["--input", "in.csv", "--output", "out.csv", "--map", "x"], "--map wants INPUT=COLUMN, not 'x'"),
        (["--input", "in.csv", "--output", "out.csv", "--map", "x=a", "--map", "x=b"], "names a column of 'x' twice"),
        (["--input", "in.csv", "--output", "out.csv", "--options", "[1]"], "--options wants an object"),
        (["--input", "in.csv", "--output", "out.csv", "--options", "{"], "--options is not JSON"),
        (["--input", "in.csv", "--output", "out.csv", "--chunk-rows", "0"], "--chunk-rows"),
        (["--output", "out.csv"], "--input"),
    ],
)
def test_wrong_usage_is_told(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert batch("echo", *arguments) == 2

    assert told in capsys.readouterr().err
    assert not list(workspace.glob("*out*"))


def test_an_unknown_pipeline_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("eco", "--input", "in.csv", "--output", "out.csv") == 2
    assert "eco" in capsys.readouterr().err


def test_columns_get_other_names(workspace: Path) -> None:
    (workspace / "in.csv").write_text("id,value,odd=name\na,1,z\n")

    code = batch(
        "echo", "--input", "in.csv", "--output", "out.jsonl", "--map", "x=value", "--keep", "key=id", "--keep", "*"
    )

    assert code == 0
    assert json.loads((workspace / "out.jsonl").read_text()) == {
        "key": "a", "value": "1", "odd=name": "z", "x": 1.0,
    }  # fmt: skip


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("--help") == 0

    assert "\n    headrace batch run iris --input flowers.csv" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz", "out.parquet"])
def test_a_killed_run_leaves_no_half_output_and_the_next_one_works(workspace: Path, output: str) -> None:
    (workspace / output).write_text("before")
    os.mkfifo(workspace / "reached")
    command = [sys.executable, "-m", "headrace", "batch", "run", "echo", "--input", "in.csv", "--output", output]
    command += ["--chunk-rows", "1"]
    run = subprocess.Popen(command, env=os.environ | {"STUCK": "reached"}, stderr=subprocess.PIPE)
    assert (workspace / "reached").read_text() == "here"  # returns once a row is on its way through the pipeline

    run.send_signal(signal.SIGKILL)
    run.communicate()
    after = (workspace / output).read_text()
    again = batch("echo", "--input", "in.csv", "--output", output)

    assert after == "before"
    assert again == 0
    assert sorted(file.name for file in workspace.iterdir() if output in file.name) == [
        output,
        f"{output}.errors.jsonl",
    ]


def test_a_terminal_sees_a_bar(workspace: Path) -> None:
    main_end, run_end = pty.openpty()
    command = [sys.executable, "-m", "headrace", "batch", "run", "echo", "--input", "in.csv", "--output", "out.csv"]

    done = subprocess.run(command, stderr=run_end, stdout=subprocess.PIPE, env=XTERM, check=False)
    os.close(run_end)
    shown = os.read(main_end, 100_000).decode()
    os.close(main_end)

    assert done.returncode == 0
    assert "in.csv" in shown
    assert "3 rows" in shown
    assert b"in.csv" not in done.stdout
