"""Does `predict` send what was named on the command line, and print what the pipeline answers?"""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from headrace import assembly, serving
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

PIPELINE = """\
model:
  name: echo
  type: echo
  input_spec:
    - {name: raw, dtype: bytes, shape: [-1]}
    - {name: note, dtype: string, shape: [-1], default: ""}
outputs: [raw, note]
"""
NUMBERS = """\
model:
  name: numbers
  type: echo
  input_spec: [{name: x, dtype: float32, shape: [-1, 2]}]
"""


def predict(*arguments: str) -> int:
    commands = Commands(
        serving.serve,
        assembly.check,
        assembly.declared,
        assembly.open_application,
        serving.open_server,
        assembly.open_access,
        assembly.open_jobs,
    )
    return main(commands, ["predict", *arguments])


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config" / "pipelines").mkdir(parents=True)
    (tmp_path / "config" / "main.yaml").write_text("")
    (tmp_path / "config" / "pipelines" / "parrot.yaml").write_text(PIPELINE)
    (tmp_path / "config" / "pipelines" / "pairs.yaml").write_text(NUMBERS)
    (tmp_path / "a.bin").write_bytes(b"A")
    (tmp_path / "b.bin").write_bytes(b"B")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_one_row_prints_its_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs", "--inputs", '{"x": [1, 2.5]}') == 0

    assert printed(capsys) == {"x": [1.0, 2.5]}


def test_several_rows_print_a_list_and_json_tells_who_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs@1", "--inputs", '[{"x": [1, 2]}, {"x": [3, 4]}]', "--json") == 0

    assert printed(capsys) == {"pipeline": "pairs", "version": "1", "outputs": [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]}


def test_files_are_rows_of_the_only_input_of_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("parrot", "--file", "a.bin", "b.bin") == 0

    assert printed(capsys) == [{"raw": {"base64": "QQ=="}, "note": ""}, {"raw": {"base64": "Qg=="}, "note": ""}]


def test_a_file_within_the_inputs_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("parrot", "--inputs", '{"raw": {"file": "a.bin"}, "note": "n"}') == 0

    assert printed(capsys) == {"raw": {"base64": "QQ=="}, "note": "n"}


def test_inputs_come_from_a_file_or_from_standard_input(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "rows.json").write_text('{"x": [1, 2]}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"x": [3, 4]}'))

    assert predict("pairs", "--inputs", "@rows.json") == 0
    assert printed(capsys) == {"x": [1.0, 2.0]}
    assert predict("pairs", "--inputs", "-") == 0
    assert printed(capsys) == {"x": [3.0, 4.0]}


def test_explain_tells_the_route_and_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs", "--inputs", '{"x": [1, 2]}', "--explain", "--json") == 0

    told = printed(capsys)["explain"]
    assert told["route"] == "only version"
    assert told["batch_size"] == 1
    assert "infer" in {step["phase"] for step in told["steps"]}


def test_explain_is_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs", "--inputs", '{"x": [1, 2]}', "--explain") == 0

    assert "pairs@1 by only version, batch of 1" in capsys.readouterr().out


def test_a_failed_row_is_in_its_place_and_the_exit_code_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs", "--inputs", '[{"x": [1, 2]}, {"x": "no"}]') == 1

    good, bad = printed(capsys)
    assert good == {"x": [1.0, 2.0]}
    assert bad["error"]["code"] == "invalid_input"


def test_the_failure_of_a_single_row_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("pairs", "--inputs", '{"x": [1]}') == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: column 'x' wants rows of shape [2]")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pairz", "--inputs", "{}"], "did you mean 'pairs'?"),
        (["pairs@2", "--inputs", "{}"], "'2'"),
        (["pairs"], "either --inputs JSON or --file FILE"),
        (["pairs", "a.bin"], "either --inputs JSON or --file FILE"),
        (["pairs", "a.bin", "--inputs", "{}"], "what is 'a.bin' for?"),
        (["pairs", "--inputs", "{x: 1}"], "is not JSON"),
        (["pairs", "--inputs", "3"], "one row as an object"),
        (["pairs", "--inputs", "[3]"], "row 0 of the inputs is no object: 3"),
        (["pairs", "--inputs", "@missing.json"], "there is no file missing.json"),
        (["pairs", "--file", "a.bin"], "It takes: x (float32)"),
        (["parrot", "--file", "missing.bin"], "there is no file missing.bin"),
    ],
)
def test_wrong_usage_says_what_would_work(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(*arguments) == 2

    shown = capsys.readouterr()
    assert told in shown.err
    assert "Traceback" not in shown.err
