"""One form for all lines, the request id in each, no secret in any."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.core.config import Reader, Secret
from headrace.core.logging import LoggingSettings, configure, logger, request_id


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure(LoggingSettings(format="json"), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_holds_event_keys_and_place(stream: io.StringIO) -> None:
    logger("headrace.x").info("model loaded", name="digits", args=[1], count=np.float32(0.5), version="1")

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "model loaded",
        "level": "info",
        "logger": "headrace.x",
        "name": "digits",
        "args": [1],
        "count": 0.5,
        "version": "1",
    }


def test_the_request_id_is_in_every_line(stream: io.StringIO) -> None:
    token = request_id.set("r-1")
    logger("ours").info("one")
    logging.getLogger("theirs").warning("two %s", "three")
    request_id.reset(token)
    logger("ours").info("four")

    assert [(line["event"], line.get("request_id")) for line in lines(stream)] == [
        ("one", "r-1"),
        ("two three", "r-1"),
        ("four", None),
    ]


def test_bound_keys_and_arguments_are_kept(stream: io.StringIO) -> None:
    logger("x").bind(pipeline="digits").warning("took %d ms", 3)

    assert lines(stream)[0] | {"timestamp": ""} == {
        "event": "took 3 ms",
        "level": "warning",
        "logger": "x",
        "pipeline": "digits",
        "timestamp": "",
    }


def test_uvicorn_and_warnings_take_the_same_way(stream: io.StringIO) -> None:
    stray = logging.getLogger("uvicorn.access")
    stray.addHandler(logging.StreamHandler(io.StringIO()))
    stray.propagate = False
    configure(LoggingSettings(format="json"), stream)

    stray.info('%s - "%s"', "127.0.0.1", "GET /?api_key=abc&x=1 HTTP/1.1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Called as Python calls it, since pytest puts its own recorder in the place of the captured one.
        logging._showwarning(UserWarning("old"), UserWarning, "f.py", 1)  # type: ignore[attr-defined]

    found = lines(stream)
    assert found[0]["event"] == '127.0.0.1 - "GET /?api_key=***&x=1 HTTP/1.1"'
    assert (found[1]["logger"], found[1]["level"]) == ("py.warnings", "warning")
    assert len(found) == 2


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure(LoggingSettings(level="WARNING", format="json"), stream)

    logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    logger("x").error("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    other = io.StringIO()
    configure(LoggingSettings(format="json"), other)

    logger("x").info("once")

    assert stream.getvalue() == "" and len(lines(other)) == 1


def test_secrets_are_masked_by_name_and_by_form(stream: io.StringIO) -> None:
    logger("x").info(
        "calling https://ann:hunter2@host/x with Bearer hunter2hunter2",
        token="hunter2",
        headers={"Authorization": "Basic hunter2", "X-API-Key": ["hunter2"], "accept": "*/*"},
        state=[{"db_password": "hunter2"}, Secret("hunter2")],
        error=ValueError("postgres://ann:hunter2@db failed"),
        clientSecret="hunter2",
        max_tokens=5,
        tokenizer="bytes",
        password=None,
        shown="hr_0123456789abcdef_hunter2-" + "x" * 35,
    )

    (line,) = lines(stream)
    assert "hunter2" not in stream.getvalue()
    assert (line["max_tokens"], line["tokenizer"], line["password"]) == (5, "bytes", None)
    assert line["headers"]["accept"] == "*/*"
    assert line["event"] == "calling https://ann:***@host/x with Bearer ***"


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_shown_without_the_values_of_its_variables(form: Any) -> None:
    stream = io.StringIO()
    configure(LoggingSettings(format=form), stream)

    def fail() -> None:
        local = "hun" + "ter2"
        raise ValueError(len(local))

    try:
        fail()
    except ValueError:
        logger("x").exception("failed")
        logging.getLogger("y").exception("failed")

    assert stream.getvalue().count("ValueError: 7") == 2
    assert "hunter2" not in stream.getvalue()


def test_the_console_form_is_a_readable_line() -> None:
    stream = io.StringIO()
    configure(LoggingSettings(), stream)

    logger("x").info("model loaded", ref="digits@1")

    assert "model loaded" in stream.getvalue() and "ref=digits@1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_odd_values_do_not_lose_the_line(stream: io.StringIO) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless

    logger("x").info("odd", big=2**70, half="\ud800", path=Path("a"), endless=endless, raw=b"x")

    (line,) = lines(stream)
    assert (line["big"], line["path"]) == (str(2**70), "a")


def test_without_configuration_lines_go_where_the_application_sends_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logger("headrace.quiet").info("loaded %s", "digits", name="x")

    assert [record.getMessage() for record in caplog.records] == ["loaded digits"]


def test_the_settings_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "l.yaml").write_text("{level: WARN, format: json}")
    reader = Reader(tmp_path, {})

    assert reader.read(Path("l.yaml"), LoggingSettings) is None
    assert "did you mean 'WARNING'?" in str(reader.mistakes[0])
