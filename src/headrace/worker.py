"""What runs in a worker process? The same application as in a server of one process, behind a shared socket."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

from headrace.adapters.http.shared_listener import Counts
from headrace.assembly import load_settings, workspace_files
from headrace.core.config import Secret
from headrace.core.logging import configure
from headrace.domain.errors import EngineError, InvalidConfig
from headrace.place import Place
from headrace.services.siblings import Siblings
from headrace.services.worker_messages import Begin, Line
from headrace.serving import loop_factory, run_server


def main() -> None:
    """Serve as the supervisor at the other end of the line, whose file descriptor is the argument, says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor hears it, and tells
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(_work(socket.socket(fileno=int(sys.argv[1]))))
    sys.exit(code)


async def _work(end: socket.socket) -> int:
    line = await Line.over(end)
    begin = await line.receive()
    if not isinstance(begin, Begin):
        return 1  # the supervisor died at once
    siblings = Siblings(line, begin.number, begin.workers)
    try:
        siblings.ended(await _served(begin, siblings))
    except EngineError as error:
        code = 2 if isinstance(error, InvalidConfig) else 1
        siblings.failed(error.message, code)
        return code
    finally:
        await siblings.close()
    return 0


async def _served(begin: Begin, siblings: Siblings) -> int:
    config = Path(begin.config)
    settings, root = load_settings(config)
    level = "DEBUG" if settings.framework.debug else settings.logging.level
    configure(replace(settings.logging, level=level))
    api = replace(settings.api, host=begin.host, port=begin.port, grpc_port=begin.grpc_port, workers=begin.workers)
    settings = replace(settings, api=api)
    listener = socket.socket(fileno=begin.listener)
    for inherited in (begin.listener, begin.counts):
        os.set_inheritable(inherited, False)
    token = None if begin.token is None else Secret(begin.token)
    place = Place(listener, Counts(begin.counts, begin.number), siblings, begin.late, begin.wishes)
    return await run_server(settings, workspace_files(settings, root, config), token, place)


if __name__ == "__main__":
    main()
