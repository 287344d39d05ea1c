"""How is a run kept? As JSON under build/bench: what was measured, on which machine, with which versions, when."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench import venvs
from bench.measuring import CORES, Record, Sample
from bench.servers import SERVERS

HOME = venvs.ROOT / "build" / "bench"
STARTED = datetime.datetime.now(datetime.UTC)
ALONGSIDE = ("onnxruntime", "uvicorn", "uvloop", "fastapi")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, as it is read back from disk."""

    date: str
    machine: str
    python: str
    seconds: int
    rounds: int
    samples: Sequence[Sample]
    failures: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, work: str, server: str, cell: str) -> dict[int, Sample]:
        """The samples of one server in one cell, by round."""
        return {one.round: one for one in self.samples if (one.work, one.server, one.cell) == (work, server, cell)}


def save(record: Record, seconds: int, *, name: str = "results") -> Run:
    """Keep *record* as build/bench/NAME-DATE.json, under the date on which its process began."""
    run = Run(
        STARTED.strftime("%Y-%m-%d %H:%M"), machine(), platform.python_version(), seconds, record.rounds,
        tuple(record.samples), dict(record.failures), _versions({sample.server for sample in record.samples}),
    )  # fmt: skip
    HOME.mkdir(parents=True, exist_ok=True)
    file = HOME / f"{name}-{STARTED:%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(asdict(run), indent=1))
    return run


def read(file: Path) -> Run:
    """The run that *file* keeps."""
    kept = json.loads(file.read_text())
    samples = tuple(Sample(**one) for one in kept.pop("samples"))
    return Run(samples=samples, **kept)


def machine() -> str:
    """The processor, its cores and the memory, in words."""
    cpu = platform.processor() or platform.machine()
    file = Path("/proc/cpuinfo")
    if file.exists():
        names = [line.partition(":")[2].strip() for line in file.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpu}, {CORES} cores, {memory:.0f} GiB, {platform.system()}"


def _versions(names: set[str]) -> dict[str, dict[str, str]]:
    """For each server, the versions of its own package and of those that speed depends on."""
    found = {}
    for name in sorted(names & set(SERVERS)):
        server = SERVERS[name]
        python = venvs.HOME / server.venv / "bin" / "python"
        found[name] = venvs.versions(python, dict.fromkeys([server.package, *ALONGSIDE]))
    return found
