"""Calls from a grpc.aio client: one, or many at a time on one connection. `bench.protocols` runs it as a process.

`python -m bench.grpc_client PORT` answers with what came back; with CALLS and SECONDS behind it, with answers a second.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any

import grpc
import uvloop

from bench.grpc_messages import METHOD

PATIENCE_S = 5


async def once(port: int, message: bytes) -> bytes:
    """The answer to *message*. Raises grpc.RpcError."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(METHOD)
        answer: bytes = await ask(message, timeout=PATIENCE_S)
        return answer


async def load(port: int, message: bytes, calls: int, seconds: float) -> float:
    """Answers a second, with *calls* under way at any time."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary(METHOD)
        await ask(message)
        started = time.perf_counter()
        until, answers = started + seconds, 0

        async def one() -> None:
            nonlocal answers
            while time.perf_counter() < until:
                await ask(message)
                answers += 1

        await asyncio.gather(*(one() for _ in range(calls)))
        return answers / (time.perf_counter() - started)


def main(port: str, calls: str = "", seconds: str = "") -> int:
    """The message comes in as plain bytes. 0 with the answer or the rate as output; 1 with the status of a failure."""
    message = sys.stdin.buffer.read()
    gc.freeze()
    try:
        if calls:
            print(uvloop.run(load(int(port), message, int(calls), float(seconds))))
        else:
            sys.stdout.buffer.write(uvloop.run(once(int(port), message)))
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
