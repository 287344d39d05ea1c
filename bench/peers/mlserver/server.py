"""MLServer: a custom runtime behind V2, adaptive batching (2 ms) unless BENCH_BATCH is 1, BENCH_WORKERS processes.

0 workers run the model in the server's own process.
"""

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.cli.main import main
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from onnx_rows import Settings, open_rows


class Inference(MLModel):
    """The custom runtime."""

    async def load(self) -> bool:
        """Open the model."""
        settings = Settings.read()
        self.is_text = settings.column == "text"
        self.infer = open_rows(settings)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The answer to a request, or to several that were merged into one."""
        given = payload.inputs[0]
        rows = StringCodec.decode_input(given) if self.is_text else np.array(given.data, np.float32)
        found = self.infer(rows if self.is_text else np.reshape(rows, given.shape))
        output = ResponseOutput(name="y", shape=list(found.shape), datatype="FP32", data=found.ravel().tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])


def free_port() -> int:
    """A port for the gRPC server, which MLServer starts in any case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def write_settings(folder: Path, settings: Settings) -> None:
    """The two files that MLServer reads, in *folder*."""
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": settings.port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": settings.workers,
        "use_structured_logging": False,
    }
    model = {"name": settings.model, "implementation": "server.Inference"}
    if settings.batch > 1:
        model |= {"max_batch_size": settings.batch, "max_batch_time": 0.002}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        write_settings(Path(name), Settings.read())
        # Worker processes import the runtime by name, so its folder must be on their path too.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        os.chdir(name)
        sys.argv = ["mlserver", "start", name]
        main()
