"""Which servers are compared, and how is each configured at its best for a cell?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import venvs
from bench.cells import Cell
from bench.doors import LISTED, PLAIN, V2, V2_BINARY, Door
from bench.peers.onnx_rows import Settings
from bench.work import Work

WORKSPACES = venvs.ROOT / "bench" / "workspaces"
LAID_OUT = venvs.ROOT / "build" / "bench" / "workspaces"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a peer is given for a cell: processes, threads inside one inference, rows in a batch at most."""

    workers: int = 1
    threads: int = 1
    batch: int = 64


@dataclass(frozen=True, slots=True)
class Server:
    """One column of the comparison.

    *venv* and *script* are folders under bench/peers; *tuning* chooses what is best for a cell, as measured once by
    hand; *path* is where rows are posted (`{model}` is the model's name).
    """

    name: str
    title: str
    door: Door
    path: str
    venv: str
    about: str
    tuning: Callable[[Work, Cell], Tuning]
    package: str
    flavour: str = ""
    script: str = ""

    @property
    def echoes(self) -> bool:
        """Whether it answers with the question: a limit, not a server of models."""
        return self.script.endswith("echo")

    def python(self) -> Path:
        """The interpreter that runs it, installed if need be. Raises NotInstalled."""
        return venvs.headrace() if self.venv == "headrace" else venvs.peer(self.venv)

    def command(self, python: Path, work: Work, port: int) -> list[str]:
        """What starts it on *port*."""
        if self.venv == "headrace":
            main = lay_out(work) / "config" / "main.yaml"
            return [str(python), "-m", "headrace", "serve", "--config", str(main), "--port", str(port)]
        return [str(python), str(venvs.PEERS / (self.script or self.venv) / "server.py")]

    def environment(self, work: Work, tuning: Tuning, port: int) -> dict[str, str]:
        """The variables it is started with; Headrace gets none of ours, for it is measured as it comes."""
        if self.venv == "headrace":
            return {}
        settings = Settings(
            work.model, str(work.file), port, tuning.workers, tuning.threads, tuning.batch, self.flavour
        )
        path = os.pathsep.join([str(venvs.PEERS), str(venvs.PEERS / (self.script or self.venv))])
        quiet = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}
        return settings.environment() | quiet | {"PYTHONPATH": path}


def lay_out(work: Work) -> Path:
    """The workspace of *work* with its model, made anew under build/bench/workspaces."""
    folder = LAID_OUT / work.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(WORKSPACES / work.name, folder)
    models = folder / "models"
    if (work.file.parent / "tokenizer.json").exists():
        models = models / work.model
        models.mkdir(parents=True)
        shutil.copy2(work.file.parent / "tokenizer.json", models)
    models.mkdir(exist_ok=True)
    shutil.copy2(work.file, models)
    return folder


def _as_it_comes(work: Work, cell: Cell) -> Tuning:
    return Tuning()


def _one_process(work: Work, cell: Cell) -> Tuning:
    return Tuning(threads=work.threads)


def _two_processes(work: Work, cell: Cell) -> Tuning:
    return Tuning(workers=2)


def _mosec(work: Work, cell: Cell) -> Tuning:
    """Two single-threaded processes with batches of 32 where there is much to compute and many ask; else one."""
    if work.threads > 1 and cell.many:
        return Tuning(workers=2, batch=32)
    return Tuning(threads=work.threads)


def _mlserver(work: Work, cell: Cell) -> Tuning:
    """No batching for a lone client or a small model, batching in process for medium, two processes for minilm."""
    if work.threads == 1 or cell.connections == 1:
        return Tuning(workers=0, threads=work.threads, batch=1)
    if work.model == "minilm" and cell.many:
        return Tuning(workers=2, batch=16)
    return Tuning(workers=0, threads=work.threads)


def _litserve(work: Work, cell: Cell) -> Tuning:
    if work.model == "minilm" and cell.many:
        return Tuning(workers=2, batch=16)
    return Tuning(threads=work.threads)


V2_PATH = "/v2/models/{model}/infer"
SERVERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        Server("headrace", "Headrace", V2, V2_PATH, "headrace", "default configuration", _as_it_comes, "headrace"),
        Server("echo", "ASGI echo", V2, V2_PATH, "echo", "uvicorn, uvloop, httptools; the limit of ASGI in one process",
               _as_it_comes, "uvicorn", script="echo"),
        Server("fastapi-def", "FastAPI, def", PLAIN, "/predict", "fastapi",
               "pydantic in and out, one process; medium and minilm with 2 threads in an inference",
               _one_process, "fastapi", "def"),
        Server("fastapi-async", "FastAPI, 2 processes", PLAIN, "/predict", "fastapi",
               "pydantic in and out, `async def`, two single-threaded processes", _two_processes, "fastapi", "async"),
        Server("mosec", "Mosec", PLAIN, "/inference", "mosec",
               "JSON, wait 1 ms (its least), batch 64; medium and minilm with 2 threads, and at 64 connections two "
               "single-threaded processes with batch 32", _mosec, "mosec"),
        Server("mlserver", "MLServer", V2, V2_PATH, "mlserver",
               "adaptive batching (64, 2 ms), one parallel worker, debug and metrics off", _one_process, "mlserver"),
        Server("mlserver-best", "MLServer, tuned", V2, V2_PATH, "mlserver",
               "in its own process without batching (tiny, and one connection), with batching (medium, minilm at 8), "
               "two parallel workers with batch 16 (minilm at 64)", _mlserver, "mlserver"),
        Server("bentoml", "BentoML", LISTED, "/predict", "bentoml",
               "batchable API (64), two processes, access log and metrics off", _two_processes, "bentoml"),
        Server("litserve", "LitServe", PLAIN, "/predict", "litserve",
               "batch 64 within 2 ms, one inference process; minilm at 64: two with batch 16", _litserve, "litserve"),
        Server("kserve", "KServe SDK", V2, V2_PATH, "kserve", "no batcher in the SDK; gRPC and latency log off",
               _one_process, "kserve"),
        Server("ray", "Ray Serve", PLAIN, "/", "ray", "one replica, `serve.batch` (64, 2 ms), no access log",
               _one_process, "ray"),
    )
}  # fmt: skip
"""Every server by name, in the order in which a round starts them."""

BINARY = Server("headrace-binary", "Headrace, binary", V2_BINARY, V2_PATH, "headrace", "V2 binary tensors both ways",
                _as_it_comes, "headrace")  # fmt: skip
"""Headrace asked in binary tensors."""
