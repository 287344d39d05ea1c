"""The limit of any gRPC server in Python: grpc.aio on uvloop, and one method that returns the bytes it was sent.

`python bench/grpc_echo.py PORT` serves until SIGTERM.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
import uvloop

METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Echo(grpc.GenericRpcHandler):
    """Answers the inference method with the message itself, undecoded."""

    def service(self, details: Any) -> Any:
        """The handler of the one method; None (unimplemented) for all others."""
        return grpc.unary_unary_rpc_method_handler(_same) if details.method == METHOD else None


async def _same(message: bytes, context: Any) -> bytes:
    return message


async def main(port: str) -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(grace=0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
