"""Mosec: its Rust front, JSON bodies, batches of up to BENCH_BATCH, and its shortest wait of 1 ms."""

import os
from typing import Any

from mosec import Server, Worker
from onnx_rows import Settings, open_rows


class Inference(Worker):
    """One process that turns a batch of bodies into a batch of answers."""

    def __init__(self) -> None:
        super().__init__()
        settings = Settings.read()
        self.column = settings.column
        self.infer = open_rows(settings)

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to *data*, in its order."""
        return [{"y": row} for row in self.infer([body[self.column] for body in data]).tolist()]


if __name__ == "__main__":
    settings = Settings.read()
    os.environ |= {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": str(settings.port), "MOSEC_LOG_LEVEL": "warning"}
    server = Server()
    server.append_worker(Inference, num=settings.workers, max_batch_size=settings.batch, max_wait_time=1)
    server.run()
