"""Ray Serve: one proxy and one replica with `serve.batch` (2 ms) on a cluster of this machine alone."""

import os
import signal
import tempfile
import threading
from typing import Any

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # A cluster of this machine alone: without it, Ray turns a loopback address into one that others can reach.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}

import ray
from onnx_rows import Settings, open_rows
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

settings = Settings.read()


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Inference:
    """The replica."""

    def __init__(self) -> None:
        self.column = settings.column
        self.infer = open_rows(settings)

    @serve.batch(max_batch_size=settings.batch, batch_wait_timeout_s=0.002)
    async def many(self, rows: list[Any]) -> list[list[float]]:
        """The answers to a batch."""
        found: list[list[float]] = self.infer(rows).tolist()
        return found

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The answer to one request."""
        return {"y": await self.many((await request.json())[self.column])}


def on_loopback() -> None:
    """Keep a replica's internal gRPC server on this machine: it listens on every address, without a setting for it."""
    from ray.serve._private import replica

    listen = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: listen(server, address.replace("[::]", "127.0.0.1"))


def main() -> None:
    """Serve until SIGTERM."""
    stopped = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        start(folder)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
        ray.shutdown()


def start(folder: str) -> None:
    """Start the cluster, with its sockets and logs in *folder*, and the service."""
    # Room for one model of a few megabytes; by default Ray takes a share of the whole machine's memory.
    ray.init(
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": on_loopback},
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": settings.port},
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
    )
    serve.run(Inference.bind(), route_prefix="/")


if __name__ == "__main__":
    main()
