"""Does `keys` create, list and revoke, and say what is wrong with what was typed?"""

import json
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from headrace import assembly
from headrace.adapters.cli.app import main
from headrace.adapters.cli.commands import Commands
from headrace.services.access import FORM


def unused(*_: Any, **__: Any) -> Any:
    raise AssertionError("this command must not be reached")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "main.yaml").write_text("auth: {mode: token}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(*arguments: str) -> int:
    others = {field.name: unused for field in fields(Commands)}
    return main(Commands(**{**others, "open_access": assembly.open_access}), ["keys", *arguments])


def test_the_key_alone_is_on_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("create", "shop", "--expires", "30d") == 0

    told = capsys.readouterr()
    assert FORM.fullmatch(told.out.removesuffix("\n").encode())
    assert "the key 'shop' holds until 20" in told.err and "cannot be shown again" in told.err
    assert told.out.strip() not in told.err


def test_keys_are_listed_as_json_without_anything_secret(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys("create", "shop", "--role", "infer", "--role", "admin", "--json")
    made = json.loads(capsys.readouterr().out)
    keys("create", "job", "--expires", "12h")
    keys("revoke", "job")
    with sqlite3.connect(workspace / "data" / "headrace.db") as database:
        digests = [row[0] for row in database.execute("SELECT digest FROM headrace_keys")]
    database.close()
    capsys.readouterr()

    assert keys("list", "--json") == 0
    out = capsys.readouterr().out
    assert keys("list") == 0
    table = capsys.readouterr().out

    job, shop = json.loads(out)
    assert {**shop, "key": made["key"]} == made
    assert (shop["state"], shop["roles"], shop["expires_at"]) == ("active", ["admin", "infer"], None)
    assert (job["name"], job["state"], job["created_by"][:4]) == ("job", "revoked", "cli ")
    assert job["created_at"] < job["revoked_at"] < job["expires_at"]
    assert "admin, infer" in table and "revoked" in table
    assert not any(one in out + table for one in (made["key"], *digests))


def test_there_may_be_none(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("list") == 0
    assert "there are no keys; `headrace keys create NAME` makes one" in capsys.readouterr().out
    assert keys("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (workspace / "data").exists()


def test_revoking_says_since_when_and_may_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    keys("create", "shop")
    capsys.readouterr()

    assert keys("revoke", "shop") == 0
    first = capsys.readouterr().out
    assert keys("revoke", "shop") == 0

    assert "the key 'shop' does not hold any more, since 20" in first
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("create",), 2, "Missing argument 'NAME'"),
        (("create", "a b"), 2, "not 'a b'"),
        (("create", "token"), 2, "take another name"),
        (("create", "x", "--role", "Admin"), 2, "a role has 1 to 32 lower-case letters"),
        (("create", "x", "--expires", "30"), 2, "such as 12h, 30d or 1y, not '30'"),
        (("create", "x", "--expires", "0d"), 2, "wanted a number and a unit"),
        (("create", "x", "--expires", "-1d"), 2, "--expires"),
        (("create", "x", "--expires", "101y"), 2, "at most 100 years"),
        (("revoke", "nobody"), 2, "no key is named 'nobody'; there are: none"),
        (("list", "--config", "nowhere"), 2, "there is no file nowhere"),
        (("lst",), 2, "lst"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys(*arguments) == code

    told = capsys.readouterr()
    assert words in told.err and "Traceback" not in told.err
    assert told.out == ""


def test_a_second_key_of_a_name_fails(capsys: pytest.CaptureFixture[str]) -> None:
    keys("create", "shop")

    assert keys("create", "shop") == 1
    assert "a key named 'shop' holds already; revoke it first" in capsys.readouterr().err


def test_a_database_that_cannot_be_used_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "data").mkdir()
    (workspace / "data" / "headrace.db").write_bytes(b"my thesis" * 1000)

    assert keys("create", "shop") == 1
    told = capsys.readouterr()

    assert "error: the state database is no SQLite database, or a damaged one" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("main_file", "asks"),
    [
        ("", False),
        ("auth: {mode: token}\n", True),
        ("auth: {mode: none}\n", False),
        ("api: {host: 0.0.0.0}\n", True),
        ("api: {host: 0.0.0.0}\nauth: {mode: none}\n", False),
    ],
)
def test_who_makes_a_key_that_is_not_asked_for_is_told(
    main_file: str, asks: bool, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "config" / "main.yaml").write_text(main_file)

    keys("create", "shop")

    assert ("note: as configured, the server asks for no key" in capsys.readouterr().err) is not asks
