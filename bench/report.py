"""How does a run read? As Markdown tables, on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import goals, plots, recording
from bench.cells import CELLS
from bench.comparing import BEST_OF, Spread, disturbed, ratio, speeds, spread
from bench.measuring import RAW
from bench.recording import Run
from bench.servers import SERVERS
from bench.tables import number, table, with_spread
from bench.venvs import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "img"
BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
LOOPS = [cell.name for cell in CELLS.values() if not cell.paced]
OURS = "headrace"


def as_text(run: Run, images: Iterable[str] = ()) -> str:
    """Everything that *run* says, as Markdown."""
    works = list(dict.fromkeys(one.work for one in run.samples))
    reached = goals.as_text(run)
    parts = [_heading(run), *(["### What Headrace has to reach", reached] if reached else [])]
    for work in works:
        parts += [f"### {work}", *(f"![{work}](img/{name})" for name in images if name == plots.file_name(work))]
        parts += [_speeds(run, work), _ratios(run, work), _rates(run, work), _raw(run, work)]
    parts += [_failures(run), _settings(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(run: Run) -> None:
    """Put *run* and its plots into the documentation, in place of the last one's."""
    images = plots.draw(run, IMAGES)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{as_text(run, images)}\n{END}{after}", encoding="utf-8")


def _heading(run: Run) -> str:
    rounds = "round" if run.rounds == 1 else "rounds"
    return (
        f"Measured {run.date} UTC on {run.machine}, Python {run.python}: {run.rounds} {rounds}, "
        f"{run.seconds} s a cell. Figures are medians of the rounds, least and most in brackets."
    )


def _present(run: Run, work: str) -> list[str]:
    seen = {one.server for one in run.samples if one.work == work}
    return [name for name in SERVERS if name in seen]


def _speeds(run: Run, work: str) -> str:
    cells = [cell for cell in LOOPS if any(run.of(work, name, cell) for name in _present(run, work))]
    head = ["server", *(f"{_clients(cell)}: answers/s, p50 / p99 ms" for cell in cells)]
    rows = [
        [SERVERS[name].title, *(_speed(run, work, name, cell) for cell in cells), *_costs(run, work, name, cells)]
        for name in _present(run, work)
    ]
    return table([*head, "CPU us an answer", "memory MB", "first answer s", "failed"], rows if cells else [])


def _speed(run: Run, work: str, name: str, cell: str) -> str:
    found = run.of(work, name, cell)
    p50, p99 = spread(found, lambda one: one.p50_ms), spread(found, lambda one: one.p99_ms)
    if p50 is None or p99 is None:
        return "-"
    mark = " *" if disturbed(found) else ""
    return f"{with_spread(spread(found, lambda one: one.per_second))}{mark}, {p50.median:.2f} / {p99.median:.1f}"


def _costs(run: Run, work: str, name: str, cells: Sequence[str]) -> list[str]:
    found = run.of(work, name, cells[-1])
    medians = [spread(found, lambda one: one.cpu_us), spread(found, lambda one: one.memory_mb),
               spread(found, lambda one: one.first_answer_s)]  # fmt: skip
    failed = sum(one.errors for cell in CELLS for one in run.of(work, name, cell).values())
    return [*("-" if one is None else number(one.median) for one in medians), str(failed)]


def _clients(cell: str) -> str:
    count = CELLS[cell].connections
    return "1 client" if count == 1 else f"{count} clients"


def _ratios(run: Run, work: str) -> str:
    """Headrace beside each of the others: pairs of the same round."""
    others = [name for name in _present(run, work) if name != OURS]
    rows = []
    for name in others:
        found = [ratio(speeds(run, work, OURS, cell), speeds(run, work, name, cell)) for cell in LOOPS]
        rows.append([SERVERS[name].title, *map(with_spread, found)])
    for cell in BEST_OF:
        found = [ratio(speeds(run, work, OURS, loop), speeds(run, work, RAW, cell)) for loop in LOOPS]
        rows.append([f"raw ONNX Runtime, {cell.replace('-', ' ')}", *map(with_spread, found)])
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    head = ["Headrace compared with", *map(_clients, LOOPS)]
    return table(head, rows)


def _rates(run: Run, work: str) -> str:
    rows = []
    for name in _present(run, work):
        found = run.of(work, name, "rate")
        figures = [spread(found, lambda one, key=key: getattr(one, key)) for key in  # type: ignore[misc]
                   ("rate", "per_second", "p50_ms", "p95_ms", "p99_ms")]  # fmt: skip
        if found:
            rows.append([SERVERS[name].title, *map(with_spread, figures)])
    return table(["at a given rate", "asked/s", "answered/s", "p50 ms", "p95 ms", "p99 ms"], rows)


def _raw(run: Run, work: str) -> str:
    cells = sorted({one.cell for one in run.samples if (one.work, one.server) == (work, RAW)}, key=_batch)
    sizes = list(dict.fromkeys(map(_batch, cells)))
    names = {"t1": "one thread", "t2": "one session, two threads", "2x1": "two sessions, one thread each"}
    rows = [
        [title, *(with_spread(Spread.of(list(speeds(run, work, RAW, f"{key}-b{size}").values()))) for size in sizes)]
        for key, title in names.items()
    ]
    return table(["raw ONNX Runtime, rows/s", *(f"batch {size}" for size in sizes)], rows if cells else [])


def _batch(cell: str) -> int:
    return int(cell.rpartition("b")[2])


def _failures(run: Run) -> str:
    if not run.failures:
        return ""
    return "What could not be measured:\n\n" + "\n".join(f"- {what}: {why}" for what, why in run.failures.items())


def _settings(run: Run) -> str:
    rows = [
        [SERVERS[name].title, SERVERS[name].about, ", ".join(f"{key} {value}" for key, value in found.items())]
        for name, found in run.versions.items()
    ]
    order = list(SERVERS)
    rows.sort(key=lambda row: order.index(next(name for name in SERVERS if SERVERS[name].title == row[0])))
    return table(["server", "how it is set up", "versions"], rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python -m bench.report FILE: write docs/benchmarks.md from a file under build/bench")
    write(recording.read(Path(sys.argv[1])))
