"""What does a run look like? One picture for each model: bars of answers a second, with the spread of the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.cells import CELLS
from bench.comparing import Spread, speeds
from bench.recording import Run
from bench.servers import SERVERS

OURS, LIMIT, OTHERS = "#0b6e99", "#c9c9c9", "#8fb8c9"


def file_name(work: str) -> str:
    """The picture of the model called *work*."""
    return f"bench-{work}.png"


def draw(run: Run, folder: Path) -> list[str]:
    """Write the pictures of *run* into *folder* and return their names; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        print("there are no plots without matplotlib: install headrace[bench]")
        return []
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    works = list(dict.fromkeys(one.work for one in run.samples))
    return [_picture(run, work, folder) for work in works]


def _picture(run: Run, work: str, folder: Path) -> str:
    from matplotlib.figure import Figure

    cells = [cell for cell in CELLS.values() if not cell.paced]
    names = [name for name in reversed(list(SERVERS)) if any(run.of(work, name, cell.name) for cell in cells)]
    figure = Figure(figsize=(12, 0.9 + 0.32 * len(names)), layout="constrained")
    for place, cell in enumerate(cells):
        axes = figure.add_subplot(1, len(cells), place + 1)
        _bars(axes, {name: Spread.of(list(speeds(run, work, name, cell.name).values())) for name in names})
        axes.set_title(f"{work}: {cell.connections} client{'s' if cell.connections > 1 else ''}, answers/s", fontsize=9)
        if place:
            axes.set_yticklabels([])
    figure.savefig(folder / file_name(work), dpi=110)
    return file_name(work)


def _bars(axes: Any, found: dict[str, Spread | None]) -> None:
    places = range(len(found))
    medians = [one.median if one else 0.0 for one in found.values()]
    around = [
        [one.median - one.least if one else 0.0 for one in found.values()],
        [one.most - one.median if one else 0.0 for one in found.values()],
    ]
    colours = [OURS if name == "headrace" else LIMIT if SERVERS[name].echoes else OTHERS for name in found]
    axes.barh(places, medians, xerr=around, color=colours, error_kw={"linewidth": 0.8})
    axes.set_yticks(places, [SERVERS[name].title for name in found], fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
