"""A running server: the assembled application behind its doors, until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.adapters.credentials import Credentials
from headrace.assembly import Application, Loading, assemble, load_settings, workspace_files
from headrace.core.config import Secret
from headrace.core.logging import configure, logger
from headrace.domain.errors import EngineError, InvalidConfig
from headrace.infra.config_files import WorkspaceFiles
from headrace.infra.hooks import load_middleware
from headrace.infra.telemetry.prometheus import Exposition
from headrace.main_file import MainFile
from headrace.place import AllWorkers, Place
from headrace.services.exposition import expose
from headrace.services.worker_messages import Begin
from headrace.settings import Settings

SWITCH_S = 0.0001
"""How long a thread with a batch waits at most until the busy loop lets it have the interpreter, to start the model
and to hand over what came out. Python's own 5 ms is longer than many a batch takes."""


@asynccontextmanager
async def open_server(config: Path) -> AsyncIterator[tuple[Application, str]]:
    """The workspace of *config*, loaded and served over HTTP on a free port of this machine; with it, its URL."""
    from headrace.adapters.http.app import create_app
    from headrace.adapters.http.serve import serve as serve_http

    async with Loading(config) as application:
        api = replace(application.settings.api, host="127.0.0.1", port=0, drain_s=5.0)
        app = create_app(application.inference, application.deployments, api)
        stop = asyncio.Event()
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        doors = asyncio.create_task(serve_http(app, api, stop, listening.set_result))
        try:
            waiting: list[asyncio.Future[Any]] = [doors, listening]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            yield application, listening.result()
        finally:
            stop.set()
            await doors


def serve(
    config: Path,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    grpc_port: int | None = None,
) -> int:
    """Serve the workspace of *config* until SIGTERM or SIGINT; returns the exit code."""
    settings, root = load_settings(config)
    level = "DEBUG" if settings.framework.debug else settings.logging.level
    configure(replace(settings.logging, level=level))
    api = replace(
        settings.api,
        host=host or settings.api.host,
        port=settings.api.port if port is None else port,
        grpc_port=settings.api.grpc_port if grpc_port is None else grpc_port,
        workers=workers or settings.api.workers,
    )
    settings = replace(settings, api=api)
    if api.workers > 1:
        return _serve_by_workers(settings, config)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(settings, workspace_files(settings, root, config)))


def _serve_by_workers(settings: Settings, config: Path) -> int:
    """Have several processes serve, and look after them here."""
    from headrace.adapters.grpc.held import held_port
    from headrace.adapters.http.serve import address_of, bind
    from headrace.adapters.http.shared_listener import CLOSED
    from headrace.supervising import Plan, supervise

    api = settings.api
    closed = struct.pack("i", CLOSED)
    with bind(api.host, api.port) as listener, held_port(api) as grpc_port, tempfile.TemporaryFile() as counts:
        counts.write(closed * api.workers)
        counts.flush()
        token = _token(settings)
        begin = Begin(
            number=0,
            workers=api.workers,
            config=str(config),
            host=api.host,
            port=api.port,
            grpc_port=grpc_port,
            listener=listener.fileno(),
            counts=counts.fileno(),
            token=None if token is None else token.reveal(),
        )
        return supervise(Plan(begin, listener, address_of(listener), api.drain_delay_s + api.drain_s, closed))


def loop_factory() -> Any:
    """What makes the event loop; None: the one of the standard library."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop


def _stop(stop: asyncio.Event, number: int) -> None:
    """Begin to stop; who presses Ctrl-C a second time does not want to wait for anybody."""
    if stop.is_set() and number == signal.SIGINT:
        os._exit(130)
    logger("headrace").info("stopping: finishing what was accepted; Ctrl-C again to stop at once")
    stop.set()


async def _serve(settings: Settings, workspace: WorkspaceFiles) -> int:
    """Serve in this process alone; returns the exit code."""
    try:
        cut = await run_server(settings, workspace, _token(settings))
    except EngineError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 2 if isinstance(error, InvalidConfig) else 1
    if cut:
        logger("headrace").warning("stopped with requests unanswered", cut=cut)
    return 0


async def run_server(
    settings: Settings, workspace: WorkspaceFiles, token: Secret | None, place: Place | None = None
) -> int:
    """Serve until a signal, alone or at a *place* among other workers; returns how many requests were cut off.

    Raises EngineError for what keeps the workspace from being served.
    """
    from headrace.adapters.grpc.presence import serve_if_present
    from headrace.adapters.http.app import create_app
    from headrace.adapters.http.serve import serve as serve_http

    application = assemble(settings, workspace, workers=settings.api.workers)
    credentials = None if token is None else Credentials(token, application.access)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT) if place is None else (signal.SIGTERM,):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    app = create_app(
        application.inference,
        application.deployments,
        settings.api,
        title=settings.framework.name,
        version=settings.framework.version,
        token=credentials,
        metrics=_metrics(application, place),
        streams=application.streams,
        routes=application.routes,
        idempotency=application.idempotency,
        middleware=load_middleware(settings.api.middleware, workspace.root),
    )

    app.ask_databases(application.state.health)

    def doors() -> Sequence[Coroutine[Any, Any, int]]:
        shared: dict[str, Any] = {} if place is None else {"listener": place.listener, "counts": place.counts}
        http = serve_http(app, settings.api, stop, **shared)
        inference, deployments, once = application.inference, application.deployments, application.idempotency
        return http, serve_if_present(inference, deployments, settings.api, stop, credentials, once)

    time_left = asyncio.create_task(_time_left(stop, settings))
    listening = None if place is None else asyncio.create_task(place.listen(application, stop))
    if credentials is not None:
        application.access.follow()
    cut = 0
    try:
        cut = await _run(application, doors, stop, place, MainFile(workspace.main_file))
    finally:
        stop.set()
        cut += await application.close((await time_left)())
        if listening is not None:
            listening.cancel()
    return cut


async def _time_left(stop: asyncio.Event, settings: Settings) -> Callable[[], float]:
    """Tells, once *stop* is set, how many seconds of the time for the end are left."""
    await stop.wait()
    until = time.monotonic() + settings.api.drain_delay_s + settings.api.drain_s
    return lambda: max(0.0, until - time.monotonic())


async def _together(doors: Sequence[Coroutine[Any, Any, int]], stop: asyncio.Event) -> int:
    """Serve through all *doors*; if one cannot open, none stays open. Returns how many requests were cut off."""
    tasks = [asyncio.create_task(door) for door in doors]
    try:
        return sum(await asyncio.gather(*tasks))
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(
    application: Application,
    opening: Callable[[], Sequence[Coroutine[Any, Any, int]]],
    stop: asyncio.Event,
    place: Place | None,
    main_file: MainFile,
) -> int:
    """Load everything while the doors already answer "not ready", then follow the configuration until the end.

    Returns how many requests the doors cut off. A worker that comes late opens no door before it is loaded.
    """
    loading = asyncio.create_task(_load(application, place))
    if place is not None and place.late:
        await _either(loading, stop)
        if stop.is_set():
            loading.cancel()
            await asyncio.wait({loading})
            return 0
        await loading
    doors = asyncio.create_task(_together(opening(), stop))
    try:
        await asyncio.wait({loading, doors}, return_when=asyncio.FIRST_COMPLETED)
        if not doors.done():
            await loading
            await _attend(application, doors, place, main_file)
        return await doors
    finally:
        stop.set()
        loading.cancel()
        await asyncio.gather(doors, loading, return_exceptions=True)


async def _either(task: asyncio.Task[Any], stop: asyncio.Event) -> None:
    """Wait until *task* is done or *stop* is set."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()


async def _load(application: Application, place: Place | None) -> None:
    await application.start()
    if place is not None:
        await place.follow_wishes()
    application.streams.start(application.deployments.streams)
    sys.setswitchinterval(SWITCH_S)
    _settle_memory()


async def _attend(application: Application, doors: asyncio.Task[int], place: Place | None, main_file: MainFile) -> None:
    """Say that all is loaded, and follow the configuration while the *doors* are open."""
    pipelines = [str(one.ref) for one in application.deployments.status() if one.state == "ready"]
    streams = [stream.spec.name for stream in application.streams]
    if place is not None:
        place.siblings.ready(pipelines, streams)
    else:
        url = f"http://{application.settings.api.host}:{application.settings.api.port}"
        logger("headrace").info("ready", url=url, pipelines=pipelines, streams=streams)
    following = asyncio.create_task(_follow(application, main_file))
    try:
        await asyncio.wait({doors})
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def _follow(application: Application, main_file: MainFile) -> None:
    """Look at the configuration folder again and again; what is wrong in it is logged once."""
    log = logger("headrace")
    deployments = application.deployments
    while (pause := application.settings.models.poll_s) > 0:
        await asyncio.sleep(pause)
        before = deployments.mistakes
        try:
            if await deployments.refresh():
                await asyncio.to_thread(main_file.tell_changes)
                await application.streams.follow(deployments.streams)
                log.info("configuration reloaded", pipelines=[str(one.ref) for one in deployments.status()])
            await application.routes.refresh()  # another server that shares the state may have set some
        except EngineError as error:
            log.error("reload failed; the old version goes on serving", reason=error.message)
        if deployments.mistakes and deployments.mistakes != before:
            log.error("configuration has mistakes; the old one goes on serving", mistakes=deployments.mistakes)


def _settle_memory() -> None:
    """What is loaded stays: the collector need not walk it again, and may come less often (measured: +8 %)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _token(settings: Settings) -> Secret | None:
    """What callers must show. A random one is printed once, to the terminal, not to the log."""
    auth = settings.auth
    if not settings.asks_callers:
        return None
    if auth is not None and auth.token is not None:
        return auth.token
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"This server asks for a token: {token}\n  curl -H 'Authorization: Bearer {token}' ...\n")
    return Secret(token)


def exposition(application: Application) -> Exposition:
    """What /metrics shows, under the names of the contract."""
    show = Exposition()
    expose(show, application.inference.engine, application.streams, application.inference.answers)
    return show


def _metrics(application: Application, place: Place | None) -> Exposition | AllWorkers:
    show = exposition(application)
    return show if place is None else place.join(application, show)
