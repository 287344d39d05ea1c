"""Can each example be followed by its page, from `headrace init` to the right answer and to training it again?"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.end_to_end.test_example_digits import Reader, agrees, commands, reader

from headrace import assembly, serving
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

__all__ = ["reader"]  # the fixture

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/train.py"))
FOLLOWED = [name for name in NAMES if name != "digits"]  # which has a test of its own
LARGEST = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWED)
def test_a_reader_who_types_what_the_page_says_sees_what_it_shows(reader: Reader, name: str) -> None:
    typed = commands((EXAMPLES / name / "README.md").read_text())

    for command in typed:
        printed = reader.type(command)
        assert agrees(command.expected, printed), f"{name}: {command.text}\nprinted: {printed}"

    assert reader.servers
    assert reader.leave() == [0] * len(reader.servers)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_answers_as_it_lies_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = Commands(
        serving.serve,
        assembly.check,
        assembly.declared,
        assembly.open_application,
        serving.open_server,
        assembly.open_access,
        assembly.open_jobs,
    )

    code = main(command, ["check", "--load", "--config", str(EXAMPLES / name / "config" / "main.yaml")])

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert re.search(rf"^{name} +1 +ready +1 +[0-9.]+ *$", printed, re.MULTILINE), "no example of its own was run"
    assert "warning" not in printed


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_brings_is_small(name: str) -> None:
    files = [file for file in (EXAMPLES / name).rglob("*") if file.is_file() and "__pycache__" not in file.parts]

    assert {str(file) for file in files if file.stat().st_size > LARGEST} == set()


def test_every_example_is_in_the_documentation() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()

    assert [name for name in NAMES if f"examples/{name}.md" not in menu] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWED)
def test_training_warns_of_nothing_and_makes_the_same_again(name: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text((EXAMPLES / name / "train.py").read_text())

    done = subprocess.run(
        [sys.executable, "-W", "error", "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip

    assert done.stderr == ""
    made = [file.relative_to(tmp_path) for file in tmp_path.rglob("models/*/*/*") if file.is_file()]
    assert made
    assert all((EXAMPLES / name / file).is_file() for file in made)
