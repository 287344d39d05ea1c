"""Does `headrace batch run` answer a file as it was asked to, and tell what came of it?"""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
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
    return command("run", *arguments)


def command(*arguments: str) -> int:
    commands = Commands(
        serving.serve,
        assembly.check,
        assembly.declared,
        assembly.open_application,
        serving.open_server,
        assembly.open_access,
        assembly.open_jobs,
    )
    return main(commands, ["batch", *arguments])


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """What `headrace batch list --json` prints, the newest first."""
    capsys.readouterr()
    assert command("list", "--json", *arguments) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def started(*arguments: str, output: str = "out.csv") -> "subprocess.Popen[bytes]":
    """A run in a process of its own, which stands still in the middle of the table."""
    os.mkfifo("reached")
    line = [sys.executable, "-m", "headrace", "batch", "run", "echo", "--input", "in.csv", "--output", output]
    run = subprocess.Popen(
        [*line, "--chunk-rows", "1", *arguments], env=os.environ | {"STUCK": "reached"}, stderr=subprocess.PIPE
    )
    assert Path("reached").read_text() == "here"  # returns once a row is on its way through the pipeline
    return run


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
    assert told.pop("job")
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
    run = started(output=output)

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
    line = [sys.executable, "-m", "headrace", "batch", "run", "echo", "--input", "in.csv", "--output", "out.csv"]

    done = subprocess.run(line, stderr=run_end, stdout=subprocess.PIPE, env=XTERM, check=False)
    os.close(run_end)
    shown = os.read(main_end, 100_000).decode()
    os.close(main_end)

    assert done.returncode == 0
    assert "in.csv" in shown
    assert "3 rows" in shown
    assert b"in.csv" not in done.stdout


def test_runs_are_listed_and_each_can_be_looked_at(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("list") == 0
    assert "there are no runs yet" in capsys.readouterr().out
    batch("echo", "--input", "in.csv", "--output", "out.csv", "--keep", "id")
    batch("echo", "--input", "none.csv", "--output", "out.csv")

    failed, done = listed(capsys)
    assert [one["job"] for one in listed(capsys, "--status", "failed")] == [failed["job"]]
    assert [one["job"] for one in listed(capsys, "--limit", "1")] == [failed["job"]]
    assert (done["status"], done["rows"], done["written"], done["failed"]) == ("done", 3, 2, 1)
    assert (done["input"], done["errors"]) == (str(workspace / "in.csv"), str(workspace / "out.csv.errors.jsonl"))
    assert done["asked"]["keep"] == {"id": "id"} and done["error"] is None
    assert (failed["status"], failed["error"]) == (
        "failed", {"code": "not_found", "message": "there is no file none.csv"},
    )  # fmt: skip

    assert command("status", done["job"], "--json") == 0
    assert json.loads(capsys.readouterr().out) == done
    assert command("list") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["job", "pipeline", "status", "rows", "failed", "read", "started", "took", "output"]
    assert table[2].split()[:6] == [done["job"], "echo@1", "done", "3", "1", "100%"]


@pytest.mark.parametrize("arguments", [("status", "none"), ("resume", "none")])
def test_a_job_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]) -> None:
    assert command(*arguments) == 2

    assert "there is no job 'none'; `headrace batch list` shows" in capsys.readouterr().err


def test_a_database_that_cannot_be_read_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data").mkdir()
    (workspace / "data" / "headrace.db").write_bytes(b"no database" * 500)

    assert command("list") == 1
    assert "error: the state database is no SQLite database, or a damaged one" in capsys.readouterr().err


def test_a_run_goes_on_without_a_database_and_says_so(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data").write_text("no folder")

    assert batch("echo", "--input", "in.csv", "--output", "out.csv", "--json") == 0

    assert json.loads(capsys.readouterr().out)["written"] == 2


def test_a_killed_run_is_shown_as_interrupted_and_resumed_from_anywhere(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started("--row-number")
    until_listed("running", capsys)
    again = command("resume", listed(capsys)[0]["job"])
    refused = capsys.readouterr().err
    run.send_signal(signal.SIGKILL)
    [killed] = until_listed("interrupted", capsys)  # before anybody has waited for the process
    run.communicate()
    (workspace / "elsewhere").mkdir()
    monkeypatch.chdir(workspace / "elsewhere")

    code = command("resume", killed["job"], "--config", str(workspace), "--json")

    told = json.loads(capsys.readouterr().out)
    [done] = listed(capsys, "--config", str(workspace))
    assert (again, f"is running, as process {run.pid} on " in refused) == (1, True)
    assert (killed["pid"], killed["rows"] < 3) == (run.pid, True)
    assert (code, told["job"], told["written"]) == (0, killed["job"], 2)
    assert (workspace / "out.csv").read_text() == "row,x\n1,1.0\n3,3.5\n"
    assert (done["job"], done["status"], done["attempt"], done["rows"]) == (killed["job"], "done", 2, 3)


def test_a_run_that_is_stopped_by_hand_is_shown_as_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    run = started()
    until_listed("running", capsys)

    run.send_signal(signal.SIGINT)
    until_listed("cancelled", capsys)
    run.send_signal(signal.SIGINT)  # its step stands still for ever, and is not waited for
    _, told = run.communicate(timeout=20)

    assert (run.returncode, told.decode().splitlines()[-1]) == (130, "stopped at once")
    assert "Traceback" not in told.decode()


def until_listed(status: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The runs of that *status*, once there are any."""
    pause = threading.Event()
    for _ in range(1000):
        if found := listed(capsys, "--status", status):
            return found
        pause.wait(0.02)
    raise AssertionError(f"no run is {status}: {listed(capsys)}")
