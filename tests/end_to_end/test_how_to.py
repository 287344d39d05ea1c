"""Does the code that the how-to pages show work as it stands there?"""

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import __main__, assembly
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands
from headrace.services.access import FORM

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?P<indent> *)```(?:python|yaml)\n(?P<body> *# (?P<file>[\w./-]+)\n.*?)^ *```$", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"^\$ headrace (keys .+)$", re.MULTILINE)


def workspace_of(page: str, folder: Path) -> Path:
    """A workspace in *folder* of the blocks of *page* that begin with the name of a file; returns its main file."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    for block in BLOCK.finditer(text):
        lines = [line.removeprefix(block["indent"]) for line in block["body"].splitlines()]
        file = folder / block["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    main = folder / "config" / "main.yaml"
    if not main.exists():
        main.write_text("")
    return main


async def answer(folder: Path, pipeline: str, row: dict[str, Any]) -> Any:
    async with headrace.load(folder) as app:
        [outcome] = await app.infer(pipeline, [row])
    return outcome


async def test_the_steps_of_the_page_run(tmp_path: Path) -> None:
    main = workspace_of("write-a-step.md", tmp_path)
    words = "preprocessing: [count_words]\nmodel: {name: n, type: echo, input_spec: [{name: words, dtype: int64}]}\n"
    (tmp_path / "config" / "pipelines" / "words.yaml").write_text(
        words.replace("[count_words]", "[{name: count_words}]")
    )

    assert assembly.check(main).mistakes == ()
    assert (await answer(tmp_path, "prices", {"price": 1.0}))["log_price"] == 0
    assert (await answer(tmp_path, "words", {"text": "one two three"}))["words"] == 3


async def test_the_python_model_of_the_page_predicts(tmp_path: Path) -> None:
    main = workspace_of("bring-a-python-model.md", tmp_path)

    assert assembly.check(main).mistakes == ()
    assert (await answer(tmp_path, "price", {"area": 50, "rooms": 2}))["price"] == 60000


async def test_the_onnx_model_of_the_page_is_served_bare(tmp_path: Path) -> None:
    main = workspace_of("bring-an-onnx-model.md", tmp_path)
    model = tmp_path / "models" / "iris" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "digits" / "models" / "digits-mlp" / "1" / "model.onnx", model)

    assert assembly.check(main).mistakes == ()
    assert len((await answer(tmp_path, "iris", {"pixels": [0.0] * 64}))["probabilities"]) == 10


def test_the_settings_of_the_page_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = workspace_of("secure-the-server.md", tmp_path)
    monkeypatch.setenv("HEADRACE_TOKEN", "secret")

    settings, _ = assembly.load_settings(main)

    assert settings.auth is not None and settings.auth.token is not None
    assert settings.auth.token.reveal() == "secret"
    assert "secret" not in repr(settings)


def test_the_settings_of_the_page_about_watching_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = workspace_of("watch-a-server.md", tmp_path)
    monkeypatch.setenv("OTLP_KEY", "secret")

    settings, _ = assembly.load_settings(main)

    assert assembly.check(main).mistakes == ()
    assert settings.telemetry.otlp_endpoint == "http://127.0.0.1:4318"
    assert settings.telemetry.otlp_headers["x-api-key"].reveal() == "secret" and "secret" not in repr(settings)
    assert settings.telemetry.price_per_device_s == {"cpu": 0.00002, "cuda": 0.0008}
    assert (settings.logging.format, settings.logging.requests) == ("json", "errors")


def test_the_settings_of_the_page_about_repeating_hold(tmp_path: Path) -> None:
    main = workspace_of("repeat-requests-safely.md", tmp_path)

    settings, _ = assembly.load_settings(main)

    assert assembly.check(main).mistakes == ()
    assert settings.state.idempotency_ttl_s == 24 * 3600


def test_the_commands_of_the_page_about_keys_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace_of("give-callers-keys.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_TOKEN", "secret")

    lines = COMMAND.findall((ROOT / "docs" / "how-to" / "give-callers-keys.md").read_text())
    commands = Commands(**{field.name: getattr(__main__, field.name) for field in fields(Commands)})
    codes = [main(commands, shlex.split(line)) for line in lines]

    assert (len(lines), set(codes)) == (4, {0})
    told = capsys.readouterr()
    assert FORM.match(told.out.encode()) and "nightly-job" in told.out
    assert "asks for no key" not in told.err
