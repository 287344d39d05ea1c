"""Does `init` make a workspace that somebody can go on with, and nothing where something is already?"""

from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("init needs no application")


def init(*arguments: str) -> int:
    return main(Commands(unused, unused, unused, unused, unused, unused, unused), ["init", *arguments])


def test_a_workspace_has_its_folders_and_tells_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(str(tmp_path / "shop")) == 0

    made = {path.relative_to(tmp_path / "shop").as_posix() for path in (tmp_path / "shop").rglob("*")}
    assert {"config/main.yaml", "models", "steps", ".gitignore", "README.md"} <= made
    assert not any("__pycache__" in path for path in made)
    told = capsys.readouterr().out
    assert f"cd {tmp_path / 'shop'}" in told
    assert "headrace serve" in told


def test_without_a_folder_it_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()

    assert init() == 0
    assert (tmp_path / "config" / "main.yaml").exists()


def test_an_example_is_copied_with_its_model_and_pictures(tmp_path: Path) -> None:
    assert init(str(tmp_path / "x"), "--example", "digits") == 0

    for file in ("train.py", "models/digits-mlp/1/model.onnx", "examples/three.png", "config/pipelines/digits.yaml"):
        assert (tmp_path / "x" / file).is_file()


def test_unknown_example_lists_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = init(str(tmp_path / "x"), "--example", "digit")

    told = capsys.readouterr().err
    assert code == 2
    assert "did you mean 'digits'?; there are: " in told
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("precious")

    code = init(str(tmp_path))

    assert code == 2
    assert "it holds thesis.tex" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("")

    assert init(str(tmp_path / "x")) == 2
    assert "is a file" in capsys.readouterr().err
