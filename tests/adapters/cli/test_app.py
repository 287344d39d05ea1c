"""Does a failure reach the person at the keyboard as one clear line and the right exit code?"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands
from headrace.domain.errors import InvalidConfig, ModelFailure


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("this command must not be reached")


NOTHING = Commands(unused, unused, unused, unused, unused, unused, unused)


def raising(error: Exception) -> Any:
    def serve(*_: Any, **__: Any) -> int:
        raise error

    return serve


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "main.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_unknown_verb_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(NOTHING, ["srve"])

    assert code == 2
    assert "no command 'srve'; did you mean 'serve'?" in capsys.readouterr().err


def test_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(NOTHING, ["serve", "--prot", "9000"])

    told = capsys.readouterr().err
    assert code == 2
    assert "--port" in told
    assert "see: headrace serve --help" in told


def test_every_verb_has_a_page_of_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [["init"], ["serve"], ["predict"], ["check"]]
    verbs += [["models", verb] for verb in ("list", "show", "load", "unload", "reload")]

    for verb in verbs:
        assert main(NOTHING, [*verb, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "Examples:\n" in shown
        assert f"\n    headrace {' '.join(verb)}" in shown


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(NOTHING, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("headrace 0.")


def test_serve_passes_what_was_asked_and_its_exit_code(workspace: Path) -> None:
    asked: list[Any] = []

    def serve(config: Path, *_: Any, **rest: Any) -> int:
        asked.append((config, rest))
        return 3

    code = main(replace(NOTHING, serve=serve), ["serve", "--port", "9000", "--host", "::1"])

    assert code == 3
    assert asked == [(Path("config/main.yaml"), {"host": "::1", "port": 9000, "workers": None, "grpc_port": None})]


def test_config_may_be_the_folder_of_the_workspace(workspace: Path) -> None:
    asked: list[Path] = []

    def serve(config: Path, *_: Any, **__: Any) -> int:
        asked.append(config)
        return 0

    main(replace(NOTHING, serve=serve), ["serve", "--config", str(workspace)])

    assert asked == [workspace / "config" / "main.yaml"]


def test_outside_a_workspace_the_way_into_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    code = main(NOTHING, ["serve"])

    assert code == 2
    assert "headrace init" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidConfig("config/main.yaml:3: no key 'prot'"), 2),
        (ModelFailure("the model raised"), 1),
        (OSError(98, "Address already in use"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_failure_is_a_line_on_stderr_and_an_exit_code(
    workspace: Path, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert main(replace(NOTHING, serve=raising(error)), ["serve"]) == code

    shown = capsys.readouterr()
    assert shown.out == ""
    assert str(error) in shown.err
    assert "Traceback" not in shown.err


def test_a_fault_of_ours_shows_its_traceback_only_on_demand(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = replace(NOTHING, serve=raising(KeyError("lost")))

    assert main(commands, ["serve"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(commands, ["--debug", "serve"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_waits_for_no_framework() -> None:
    probe = (
        "import sys; from headrace.__main__ import main\n"
        "sys.argv = ['headrace', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)

    assert "Commands:" in done.stdout
    for unwanted in ("fastapi", "onnxruntime", "pydantic", "rich", "starlette", "uvicorn"):
        assert f"'{unwanted}'" not in done.stderr
