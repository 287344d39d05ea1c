"""A main file that changes under a running server: its settings wait for the next start, and the log says which."""

import json
from io import StringIO
from pathlib import Path

from headrace.core.logging import LoggingSettings, configure
from headrace.main_file import MainFile


def test_what_changed_is_told_once(tmp_path: Path) -> None:
    config = tmp_path / "config" / "main.yaml"
    config.parent.mkdir()
    config.write_text("framework: {name: Shop}")
    written = StringIO()
    main_file = MainFile(config)
    configure(LoggingSettings(format="json"), written)
    try:
        for text in (
            "framework: {name: Shop}  # the same",
            "framework: {name: Shop}\nauth: {mode: token, token: s3cret}\napi: {port: 81}",
            "api: {port: 81}\nauth: {mode: token, token: s3cret}\nframework: {name: Shop}",
            "framework: [",
            "framework: {name: Shop}",
        ):
            config.write_text(text)
            main_file.tell_changes()
    finally:
        configure(LoggingSettings())

    told = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(one["level"], one.get("sections")) for one in told] == [("warning", ["api", "auth"]), ("error", None)]
    assert told[0]["event"] == "settings of the main file changed; they take effect at the next start"
    assert "main.yaml:1" in told[1]["mistakes"]
    assert "s3cret" not in written.getvalue()
