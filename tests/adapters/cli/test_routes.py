"""Does `routes` say what is wrong with what was typed, before it asks a server?"""

from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands

NOBODY = ("--url", "http://127.0.0.1:1")


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("this command must not be reached")


def routes(*arguments: str) -> int:
    return main(Commands(unused, unused, unused, unused, unused, unused, unused), ["routes", *arguments, *NOBODY])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--alias", "stable"), "--alias wants NAME=VALUE, not 'stable'"),
        (("--split", "=1"), "--split wants NAME=VALUE, not '=1'"),
        (("--split", "1=many"), "--split wants a number after the =, not 'many'"),
        (("--clear", "defalt"), "'default'"),
    ],
)
def test_what_is_no_pair_is_wrong_usage(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert routes("set", "digits", *arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"), [("- 1", "holds no route"), ("a: [", "is no YAML"), ("a: \x00", "is no YAML")]
)
def test_a_file_that_holds_no_route_is_wrong_usage(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "route.yaml"
    file.write_text(content)

    assert routes("set", "digits", "--file", str(file)) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("show",), ("show", "digits"), ("reset", "digits"), ("set", "digits")])
def test_without_a_server_the_way_to_one_is_told(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert routes(*arguments) == 1
    assert "no server answers at http://127.0.0.1:1" in capsys.readouterr().err
