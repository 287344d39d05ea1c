"""LitServe: batches of up to BENCH_BATCH within 2 ms, BENCH_WORKERS inference processes behind one API server."""

from typing import Any

import litserve
from onnx_rows import Settings, open_rows


class Inference(litserve.LitAPI):
    """Decode one, infer many, encode one."""

    def setup(self, device: Any) -> None:
        """Open the model in an inference process."""
        settings = Settings.read()
        self.column = settings.column
        self.infer = open_rows(settings)

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One row of a body."""
        return request[self.column]

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Rows as they are: the model itself makes an array of them."""
        return inputs

    def predict(self, batch: list[Any]) -> list[list[float]]:
        """The answers to a batch."""
        found: list[list[float]] = self.infer(batch).tolist()
        return found

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One answer for each row."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        """The body of one answer."""
        return {"y": output}


if __name__ == "__main__":
    settings = Settings.read()
    api = Inference(max_batch_size=settings.batch, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=settings.workers, disable_openapi_url=True)
    server.run(
        host="127.0.0.1",
        port=settings.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
