"""BentoML: a service with a batchable method, BENCH_WORKERS processes, access log and metrics off."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from onnx_rows import Settings, open_rows

settings = Settings.read()


@bentoml.service(workers=settings.workers, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Inference:
    """One process of the service."""

    def __init__(self) -> None:
        self.infer = open_rows(settings)

    if settings.column == "text":

        @bentoml.api(batchable=True, max_batch_size=settings.batch, max_latency_ms=2000)
        def predict(self, text: list[str]) -> list[list[float]]:
            """The answers to texts, in their order."""
            found: list[list[float]] = self.infer(text).tolist()
            return found

    else:

        @bentoml.api(batchable=True, max_batch_size=settings.batch, max_latency_ms=2000)
        def predict(self, x: list[list[float]]) -> list[list[float]]:
            """The answers to rows of numbers, in their order."""
            found: list[list[float]] = self.infer(x).tolist()
            return found


def command() -> list[Any]:
    """BentoML's own command line, which starts the workers."""
    where = ["--host", "127.0.0.1", "--port", str(settings.port)]
    return [sys.executable, "-m", "bentoml", "serve", "server:Inference", *where]


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.execv(sys.executable, command())
