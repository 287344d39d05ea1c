"""Does the page say what was measured, and nothing else?"""

from pathlib import Path

import pytest
from bench.measuring import Record, Sample
from bench.tables import number, table, with_spread
from tests.bench.runs import run, speed

from bench import recording, report


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert [number(one) for one in (0.554, 9.99, 12.34, 123.4, 12345.6)] == ["0.55", "9.99", "12.3", "123", "12 346"]


def test_columns_without_a_figure_are_left_out() -> None:
    assert table(["a", "b"], [["1", "-"], ["2", "-"]]) == "| a |\n| --- |\n| 1 |\n| 2 |"
    assert table(["a"], []) == ""


def test_medians_ratios_failures_and_goals_are_told() -> None:
    found = run(
        *(speed("headrace", 60.0 + 10 * number, number=number) for number in range(3)),
        *(speed("echo", 100.0, number=number) for number in range(3)),
        Sample(0, "tiny", "headrace", "c1", 5.0, p50_ms=0.2, p99_ms=1.0),
    )

    text = report.as_text(found)

    assert "| ASGI echo | 0.70 (0.60-0.80) |" in text
    assert "70.0 (60.0-80.0), 0.00 / 0.0" in text
    assert "- Ray Serve, tiny: it was tired" in text
    assert "| tiny | 64 | ASGI echo | 0.55 x | 1.2 x | 0.70 (0.60-0.80) x | holds |" in text


def test_writing_replaces_the_last_results_and_keeps_the_prose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report.plots, "draw", lambda run, folder: ["bench-tiny.png"])

    report.write(run(speed("headrace", 60.0)))

    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "![tiny](img/bench-tiny.png)" in text


def test_the_page_in_the_documentation_has_a_place_for_results() -> None:
    text = report.PAGE.read_text()

    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_a_run_is_read_back_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "HOME", tmp_path)
    monkeypatch.setattr(recording, "_versions", lambda names: {"echo": {"uvicorn": "1"}})
    record = Record([speed("echo", 10.0)], {"mosec": "not installed"}, rounds=1)

    kept = recording.save(record, 2)

    [file] = tmp_path.glob("results-*.json")
    assert recording.read(file) == kept
    assert recording.read(file).of("tiny", "echo", "c64")[0].per_second == 10.0


def test_spread_of_nothing_is_a_dash() -> None:
    assert with_spread(None) == "-"
