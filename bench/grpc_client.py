"""Load from a grpc.aio client: many calls at a time on one connection. `bench.grpc_door` runs it as a process."""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import grpc
import uvloop

from bench.grpc_messages import METHOD


async def load(port: int, message: bytes, calls: int, seconds: float) -> float:
    """Answers a second, with *calls* under way at any time."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(METHOD)
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


def main(port: str, calls: str, seconds: str) -> None:
    """The message comes in as plain bytes; the rate goes out as text."""
    message = sys.stdin.buffer.read()
    gc.freeze()
    print(uvloop.run(load(int(port), message, int(calls), float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
