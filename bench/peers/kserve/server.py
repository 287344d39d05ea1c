"""KServe's SDK: a model behind V2, gRPC off, latency and access logs off. The SDK has no batcher."""

from typing import Any

import kserve
import uvicorn
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse
from onnx_rows import Settings, open_rows


class Inference(kserve.Model):
    """One request, one inference."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.model)
        self.is_text = settings.column == "text"
        self.infer = open_rows(settings)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        """The answer to one V2 request."""
        rows = payload.inputs[0].as_numpy()
        found = self.infer([_text(row) for row in rows.ravel()] if self.is_text else rows)
        output = InferOutput("y", list(found.shape), "FP32")
        output.set_data_from_numpy(found, binary_data=False)
        return InferResponse(payload.id or "", self.name, [output])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class OnLoopback(uvicorn.Config):
    """The SDK listens on every address and offers no setting for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs | {"host": "127.0.0.1"}))


if __name__ == "__main__":
    uvicorn.Config = OnLoopback  # type: ignore[misc]
    settings = Settings.read()
    server = kserve.ModelServer(
        http_port=settings.port,
        workers=settings.workers,
        enable_grpc=False,
        enable_latency_logging=False,
        access_log_format=None,
    )
    server.start([Inference(settings)])
