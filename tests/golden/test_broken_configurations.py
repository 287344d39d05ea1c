"""Does `headrace check` name the file, the line, the key and the nearest spelling of every mistake, and no other?

Each case in `cases/*.yaml` holds the files of a small workspace and what is expected, a line per mistake in the
order in which they are told: ``FILE:LINE KEY | words of the message | more words``; a KEY of ``-`` means none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace import assembly, serving
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

FOLDER = Path(__file__).with_name("cases")
FEWEST = 50


def _cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for name, case in yaml.safe_load(file.read_text()).items():
            yield pytest.param(case, id=f"{file.stem}: {name}")


CASES = list(_cases())


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in {"config/main.yaml": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(root: Path) -> int:
    commands = Commands(
        serving.serve,
        assembly.check,
        assembly.declared,
        assembly.open_application,
        serving.open_server,
        assembly.open_access,
        assembly.open_jobs,
    )
    return main(commands, ["check", "--config", str(root / "config" / "main.yaml")])


def fits(line: str, expected: str) -> bool:
    head, *words = (part.strip() for part in expected.split(" | "))
    place, _, key = head.partition(" ")
    start = f"{place}: " if key == "-" else f"{place}: {key}: "
    return line.startswith(start) and all(word in line for word in words)


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_told_with_its_place(
    case: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, case["files"])
    for name, value in case.get("environment", {}).items():
        monkeypatch.setenv(name, value)

    code = check(tmp_path)

    told = capsys.readouterr()
    lines = [line for line in told.out.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == len(case["expected"]), told.out
    for line, expected in zip(lines, case["expected"], strict=True):
        assert fits(line, expected), f"wanted: {expected}\nfound:  {line}"
    assert code == 2
    assert "Traceback" not in told.out + told.err
    for secret in case.get("never_shown", ()):
        assert secret not in told.out + told.err


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= FEWEST


def test_an_expectation_is_about_place_key_and_words() -> None:
    line = "config/a.yaml:3: model.pth: found an unknown key (did you mean 'path'?)"

    assert fits(line, "config/a.yaml:3 model.pth | did you mean 'path'?")
    assert not fits(line, "config/a.yaml:4 model.pth | did you mean 'path'?")
    assert not fits(line, "config/a.yaml:3 model.path | did you mean 'path'?")
    assert not fits(line, "config/a.yaml:3 model.pth | did you mean 'type'?")
