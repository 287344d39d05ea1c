"""The composition root: settings in, running application out. The only file that sees every folder."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.core.config import ConfigMistakes, Mistake, Reader, Secret
from headrace.core.logging import configure, logger
from headrace.domain.batch import Outcome
from headrace.domain.errors import EngineError, InvalidConfig
from headrace.domain.ports import Declared
from headrace.domain.routing import Asked, Router
from headrace.infra.brokers.memory import MemoryBroker
from headrace.infra.cache.memory import MemoryCache
from headrace.infra.config_files import WorkspaceFiles
from headrace.infra.hooks import check_references, load_hooks, load_middleware
from headrace.infra.storage.datasets import LocalTables
from headrace.infra.telemetry.prometheus import Exposition
from headrace.services.answers import Answers
from headrace.services.context import RequestContext
from headrace.services.deployments import Deployments
from headrace.services.engine import Engine
from headrace.services.exposition import expose
from headrace.services.hooks import Hooks
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs
from headrace.services.jobs import Jobs
from headrace.services.streams import Streams
from headrace.services.verify import Verification
from headrace.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a workspace found, as lines ``file:line: what is wrong``."""

    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Application:
    """A workspace that is loaded in this process."""

    settings: Settings
    inference: Inference
    deployments: Deployments
    jobs: Jobs
    streams: Streams

    async def infer(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        version: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[Outcome]:
        """Answer *rows* with the pipeline *name*: a row of outputs, or its error, for each.

        Raises EngineError when the request as a whole cannot be answered.
        """
        asked = Asked(name, version)
        inputs = rows_to_inputs(self.inference.pipeline(asked), rows)
        return (await self.inference.infer(asked, inputs, RequestContext(options=options or {}))).outcomes()

    def verification(self, asked: Asked) -> Verification:
        """A comparison of the ways to ask a pipeline."""
        return Verification(self.inference, LocalTables(), MemoryBroker(), asked)

    async def start(self) -> None:
        """Load everything that is declared."""
        if (hooks := self.inference.engine.hooks) is not None:
            await hooks.started()
        await self.deployments.start()

    async def close(self, drain_s: float = 30.0) -> int:
        """Finish what was asked within *drain_s* and let go of every model; returns how much of it was cut."""
        began = time.monotonic()
        cut = await self.streams.drain(drain_s)
        await self.streams.stop()
        cut += await self.inference.engine.close(max(0.0, began + drain_s - time.monotonic()))
        if (hooks := self.inference.engine.hooks) is not None:
            await hooks.stopped()
        return cut


class Loading:
    """A workspace about to be loaded: ``await`` it, or use it in ``async with``, which closes it at the end."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._application: Application | None = None

    async def _load(self) -> Application:
        settings, root = load_settings(self._config)
        application = assemble(settings, workspace_files(settings, root, self._config))
        try:
            await application.start()
        except BaseException:
            await application.close(0)
            raise
        return application

    def __await__(self) -> Generator[Any, None, Application]:
        return self._load().__await__()

    async def __aenter__(self) -> Application:
        self._application = await self._load()
        return self._application

    async def __aexit__(self, *_: object) -> None:
        if self._application is not None:
            await self._application.close()


def load(workspace: str | Path = ".") -> Loading:
    """The pipelines of *workspace* (its folder, or its main configuration file), served in this process.

    ``app = await headrace.load("shop")`` or ``async with headrace.load("shop") as app: ...``. Raises InvalidConfig
    with every mistake in the configuration, each with file and line.
    """
    path = Path(workspace)
    return Loading(path if path.is_file() else path / "config" / "main.yaml")


def load_settings(config: Path) -> tuple[Settings, Path]:
    """What *config* says, and the workspace root: the folder above ``config/``. Raises InvalidConfig."""
    reader, settings, root = _read_main(config)
    try:
        reader.raise_if_any()
    except ConfigMistakes as mistakes:
        raise _invalid(mistakes.mistakes) from None
    return settings or Settings(), root


def _read_main(config: Path) -> tuple[Reader, Settings | None, Path]:
    config = config.absolute()
    root = config.parent.parent if config.parent.name == "config" else config.parent
    reader = Reader(root)
    settings = reader.read(config, Settings)
    if settings is not None:
        check_references(reader, "hooks", settings.hooks)
        check_references(reader, "api.middleware", settings.api.middleware)
    return reader, settings, root


def _invalid(mistakes: Sequence[Mistake]) -> InvalidConfig:
    details = [{"file": str(m.file), "line": m.line, "message": m.message, "key": m.key} for m in mistakes]
    return InvalidConfig("\n".join(map(str, mistakes)), details={"mistakes": details})


def workspace_files(settings: Settings, root: Path, main_file: Path = Path("config/main.yaml")) -> WorkspaceFiles:
    """The workspace at *root*, as *settings*, read from *main_file*, describe it."""
    return WorkspaceFiles(
        root,
        models_directory=settings.models.directory,
        pipelines_directory=settings.pipelines.directory,
        default_adapter=settings.models.default_adapter,
        default_pipeline=settings.pipelines.default,
        main_file=main_file,
    )


def assemble(settings: Settings, workspace: WorkspaceFiles) -> Application:
    """Put the parts together; nothing is loaded yet."""
    hooks = load_hooks(settings.hooks, workspace.root)
    engine = Engine(hooks=Hooks(hooks) if hooks else None)
    answers = Answers(MemoryCache(settings.cache.max_mb * 1024 * 1024), engine.measures)
    inference = Inference(engine, Router(engine.registry), answers=answers)
    streams = Streams(MemoryBroker(), inference)
    return Application(settings, inference, Deployments(inference, workspace), Jobs(inference, LocalTables()), streams)


def declared(config: Path) -> Declared:
    """What the files of the workspace of *config* say. Raises InvalidConfig."""
    settings, root = load_settings(config)
    return workspace_files(settings, root, config).read()


def check(config: Path) -> Report:
    """Every mistake in the workspace of *config*, without loading a model."""
    reader, settings, root = _read_main(config)
    mistakes = [str(mistake) for mistake in reader.mistakes]
    workspace = workspace_files(settings or Settings(), root, config)
    found = workspace.check()
    mistakes += [line for line in map(str, found.mistakes) if line not in mistakes]
    return Report(tuple(mistakes), tuple(map(str, found.warnings)))


@asynccontextmanager
async def open_application(config: Path) -> AsyncIterator[Application]:
    """The workspace of *config*, loaded for the length of an ``async with`` block."""
    async with Loading(config) as application:
        yield application


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
    )
    if (workers or api.workers) > 1:
        raise InvalidConfig("api.workers above 1 is not available in this version; run several servers instead")
    settings = replace(settings, api=api)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, workspace_files(settings, root, config)))


def _loop_factory() -> Any:
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
    from headrace.adapters.grpc.presence import serve_if_present
    from headrace.adapters.http.app import create_app
    from headrace.adapters.http.serve import serve as serve_http

    log = logger("headrace")
    application = assemble(settings, workspace)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    token = _token(settings)
    app = create_app(
        application.inference,
        application.deployments,
        settings.api,
        title=settings.framework.name,
        version=settings.framework.version,
        token=token,
        metrics=exposition(application),
        streams=application.streams,
        middleware=load_middleware(settings.api.middleware, workspace.root),
    )
    http = serve_http(app, settings.api, stop)
    grpc = serve_if_present(application.inference, application.deployments, settings.api, stop, token)
    doors = asyncio.create_task(_together([http, grpc], stop))
    try:
        await _run(application, doors, stop)
    except EngineError as error:
        stop.set()
        await doors
        sys.stderr.write(f"error: {error.message}\n")
        return 2 if isinstance(error, InvalidConfig) else 1
    finally:
        cut = await application.close(settings.api.drain_s)
    if cut:
        log.warning("stopped with requests unanswered", cut=cut)
    return 0


async def _together(doors: Sequence[Coroutine[Any, Any, int]], stop: asyncio.Event) -> int:
    """Serve through all *doors*; if one cannot open, none stays open. Returns how many requests were cut off."""
    tasks = [asyncio.create_task(door) for door in doors]
    try:
        return sum(await asyncio.gather(*tasks))
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(application: Application, doors: asyncio.Task[Any], stop: asyncio.Event) -> None:
    """Load everything while the doors already answer "not ready", then follow the configuration until the end."""
    loading = asyncio.create_task(application.start())
    await asyncio.wait({loading, doors}, return_when=asyncio.FIRST_COMPLETED)
    if doors.done() and not loading.done():
        loading.cancel()
        await doors
        return
    await loading
    application.streams.start(application.deployments.streams)
    _settle_memory()
    logger("headrace").info(
        "ready",
        url=f"http://{application.settings.api.host}:{application.settings.api.port}",
        pipelines=[str(one.ref) for one in application.deployments.status() if one.state == "ready"],
        streams=[stream.spec.name for stream in application.streams],
    )
    following = asyncio.create_task(_follow(application))
    try:
        await doors
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def _follow(application: Application) -> None:
    """Look at the configuration folder again and again; what is wrong in it is logged once."""
    log = logger("headrace")
    deployments = application.deployments
    while (pause := application.settings.models.poll_s) > 0:
        await asyncio.sleep(pause)
        before = deployments.mistakes
        try:
            if await deployments.refresh():
                await application.streams.follow(deployments.streams)
                log.info("configuration reloaded", pipelines=[str(one.ref) for one in deployments.status()])
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
    if auth is not None and auth.mode == "none":
        return None
    if auth is not None and auth.token is not None:
        return auth.token
    if auth is None and settings.api.host in LOOPBACK:
        return None
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"This server asks for a token: {token}\n  curl -H 'Authorization: Bearer {token}' ...\n")
    return Secret(token)


def exposition(application: Application) -> Exposition:
    """What /metrics shows, under the names of the contract."""
    show = Exposition()
    expose(show, application.inference.engine, application.streams)
    return show
