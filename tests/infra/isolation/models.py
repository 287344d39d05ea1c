"""Models that behave and misbehave, as files of a workspace, loaded into processes of their own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.domain.model import ModelAdapter
from headrace.infra.isolation.model import load_isolated

CODE = '''
import os, signal, sys, time
from pathlib import Path

import numpy as np

from headrace.domain.errors import InvalidInput, QuotaExceeded


def double(x):
    return {"y": np.asarray(x) * 2}


def seen(x):
    """Whether the column is a view, and the pid."""
    return {"y": np.array([[float(x.flags.owndata), float(os.getpid())]] * len(x), "float32")}


def ends(x, *, how, once=""):
    """End the process when a row is negative; with *once* only if that file is not there."""
    if (np.asarray(x) < 0).any():
        if once and Path(once).exists():
            return {"y": x}
        with open(once or os.devnull, "a") as file:
            file.write(f"{os.getpid()}\\n")
        if how == "exit":
            os._exit(7)
        if how == "hang":
            time.sleep(600)
        os.kill(os.getpid(), getattr(signal, how))
    return {"y": x}


def deaths(x, *, log):
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {len(x)}\\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def raises(x):
    kind = int(np.asarray(x).ravel()[0])
    if kind == 1:
        raise ValueError("no such row")
    if kind == 2:
        raise InvalidInput("column 'x' is odd", details={"row": 1})
    if kind == 3:
        raise QuotaExceeded("enough", retry_after_s=7.5)
    if kind == 4:
        raise MemoryError("too many rows")
    if kind == 5:
        return "text"
    if kind == 6:
        return {"y": [object()] * len(x)}
    return {"y": x}


def talks(x):
    sys.stdout.buffer.write(b"\\x00\\xff rubbish " * 50_000 + b"\\n")
    print("a line", flush=True)
    os.write(2, b"\\x93\\x01\\x02" * 50_000)
    return {"y": x}


def eats(x):
    held = [np.ones(8_000_000) for _ in range(int(np.asarray(x).ravel()[0]))]
    time.sleep(600 if held else 0)
    return {"y": x}


def together(x, *, folder):
    """Answer once two processes are here at the same time."""
    (Path(folder) / str(os.getpid())).touch()
    until = time.monotonic() + 30
    while len(list(Path(folder).iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    return {"y": np.full((len(x), 1), len(list(Path(folder).iterdir())), "float32")}
'''

SPECS = {
    "input_spec": [{"name": "x", "shape": [-1, -1], "dtype": "float32"}],
    "output_spec": [{"name": "y", "shape": [-1, -1], "dtype": "float32"}],
}


@contextmanager
def isolated(root: Path, function: str, code: str = CODE, **config: Any) -> Iterator[ModelAdapter]:
    """*function* of *code* in a process of its own, closed at the end."""
    (root / "net.py").write_text(code)
    path = f"net.py:{function}"
    given = {"name": "net", "root": str(root), "path": path, "isolation": "process", **SPECS, **config}
    model = load_isolated("python", path, given)
    try:
        yield model
    finally:
        model.close()


def state(model: ModelAdapter, number: int = 0) -> dict[str, Any]:
    """What a model tells of one of its processes."""
    told: dict[str, Any] = model.describe()["processes"][number]
    return told


def eventually(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Return once *condition* holds; fails when that takes too long."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
