"""What does the process of a model do? It loads the model, and answers calls until its server has gone.

Standard output and error belong to the model and are the server's log; what server and process say to each other goes
through a socket that nothing else knows.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from headrace.core.telemetry import TraceContext, current, parsed
from headrace.domain.errors import EngineError, InvalidConfig, ModelFailure
from headrace.domain.model import GenerativeModel, ModelAdapter
from headrace.domain.tensors import Column
from headrace.infra.isolation.code import code_digest
from headrace.infra.isolation.segments import Segment, pack, unpacked
from headrace.infra.isolation.wire import (
    TO_PROCESS,
    Answer,
    Broken,
    Call,
    End,
    Failed,
    Loaded,
    Next,
    Room,
    Start,
    ToProcess,
    failed,
    receive,
    send,
)

_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Serve one model over the file descriptors *arguments*: channel, columns, answers, then the server's pid."""
    channel_fd, columns_fd, answers_fd, server = map(int, arguments[:4])
    _outlive_nobody(server)
    # Whoever stops the server by a signal to all of its processes wants it to finish what it has: it says when.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with socket.socket(fileno=channel_fd) as channel:
        try:
            return _Serving(channel, Segment(columns_fd), Segment(answers_fd)).run()
        except Broken:
            return 0  # the server closed the channel, or is gone


def _outlive_nobody(server: int) -> None:
    """Be killed with the server, whatever the model is doing then."""
    import ctypes

    ctypes.CDLL(None).prctl(_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != server:
        os._exit(0)


class _Serving:
    def __init__(self, channel: socket.socket, columns: Segment, answers: Segment) -> None:
        self._channel = channel
        self._columns = columns
        self._answers = answers

    def run(self) -> int:
        start = self._receive()
        assert isinstance(start, Start)
        try:
            model = _loaded(start)
            hello = _hello(model, start)
        except Exception as error:
            send(self._channel, _load_failure(error, start))
            return 1
        send(self._channel, hello)
        gc.collect()
        gc.freeze()
        try:
            while True:
                self._answer(model, cast(Call, self._receive()))
        finally:
            model.close()

    def _receive(self) -> ToProcess:
        return cast(ToProcess, receive(self._channel, TO_PROCESS))

    def _answer(self, model: ModelAdapter, call: Call) -> None:
        current.set(_place(call.trace))
        try:
            self._columns.follow(call.memory)
            given = unpacked(call.columns, self._columns)
            if call.generate:
                self._generate(model, given, call)
            else:
                self._send(model.predict(given), call.room)
        except Exception as error:
            send(self._channel, failed(error, "the model"))

    def _send(self, columns: Mapping[str, Column], room: Room) -> None:
        """Write *columns* where the server reads them. Raises ModelFailure for what cannot travel."""
        if not isinstance(columns, Mapping):
            raise ModelFailure(
                f"the model returned a {type(columns).__name__}; it wants to return a mapping of columns"
            )
        packed, start, size = pack(columns, self._answers, room)
        try:
            send(self._channel, Answer(packed, self._answers.size, start, size))
        except (TypeError, ValueError) as error:
            raise ModelFailure(f"the model's answer cannot be passed on: {error}") from error

    def _generate(self, model: ModelAdapter, given: Mapping[str, Column], call: Call) -> None:
        chunks = cast(GenerativeModel, model).generate(given, call.deadline)
        runner = asyncio.Runner() if isinstance(chunks, AsyncIterator) else None
        room: Room | None = call.room
        try:
            while room is not None:
                chunk = _next(chunks, runner)
                if chunk is None:
                    send(self._channel, End())
                    return
                self._send(chunk, room)
                said = self._receive()
                room = said.room if isinstance(said, Next) else None
            send(self._channel, End())
        finally:
            _end(chunks, runner)


Chunks = Iterator[Mapping[str, Column]] | AsyncIterator[Mapping[str, Column]]


def _next(chunks: Chunks, runner: asyncio.Runner | None) -> Mapping[str, Column] | None:
    if runner is None:
        return next(cast(Iterator[Mapping[str, Column]], chunks), None)

    async def wait() -> Mapping[str, Column] | None:
        return await anext(cast(AsyncIterator[Mapping[str, Column]], chunks), None)

    return runner.run(wait())


def _end(chunks: Any, runner: asyncio.Runner | None) -> None:
    if runner is None:
        if callable(close := getattr(chunks, "close", None)):
            close()
        return
    if callable(close := getattr(chunks, "aclose", None)):

        async def wait() -> None:
            await close()

        runner.run(wait())
    runner.close()


def _loaded(start: Start) -> ModelAdapter:
    from headrace.infra.runtimes import load_model

    sys.path[:] = start.sys_path
    model = load_model(start.runtime, start.model_path, start.config)
    if isinstance(model, ModelAdapter):
        return model
    model.close()
    name = start.config.get("name")
    raise InvalidConfig(f"model {name!r}: isolation: found 'process' for a model that is awaited, wanted 'thread'")


def _hello(model: ModelAdapter, start: Start) -> Loaded:
    return Loaded(
        dict(model.get_input_spec()),
        dict(model.get_output_spec()),
        dict(model.describe()),
        isinstance(model, GenerativeModel),
        str(model.device),
        code_digest(Path(str(start.config["root"]))) if start.config.get("root") else "",
    )


def _load_failure(error: Exception, start: Start) -> Failed:
    if isinstance(error, EngineError):
        return failed(error, "")
    said = f"model {start.config.get('name')!r} cannot be loaded: {type(error).__name__}: {str(error)[:500]}"
    return Failed(ModelFailure.code, said)


def _place(trace: Mapping[str, str] | None) -> TraceContext | None:
    """Where calls of the model to other services belong."""
    found = parsed(trace["traceparent"], trace.get("tracestate")) if trace else None
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
