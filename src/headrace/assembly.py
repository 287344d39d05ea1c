"""The composition root: settings in, running application out. With serving.py the only file that sees every folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headrace.core.config import ConfigMistakes, Mistake, Reader
from headrace.core.processors import share
from headrace.domain.batch import Outcome
from headrace.domain.errors import InvalidConfig
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Declared, JobStore
from headrace.domain.routing import Asked, Router
from headrace.infra.brokers.memory import MemoryBroker
from headrace.infra.cache import open_cache
from headrace.infra.cache.url import check_url
from headrace.infra.config_files import WorkspaceFiles
from headrace.infra.databases.state import State
from headrace.infra.databases.stores import StateAnswers, StateJobs, StateKeys, StateRoutes
from headrace.infra.databases.url import check_url as check_state_url
from headrace.infra.hooks import check_references, load_hooks
from headrace.infra.storage.datasets import LocalTables
from headrace.infra.telemetry.opentelemetry import OpenTelemetry, check_installed
from headrace.services.access import Access
from headrace.services.answers import Answers
from headrace.services.context import RequestContext
from headrace.services.costs import Prices
from headrace.services.deployments import Deployments
from headrace.services.engine import Engine
from headrace.services.executor import Executor
from headrace.services.hooks import Hooks
from headrace.services.idempotency import Idempotency
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs
from headrace.services.jobs import Jobs
from headrace.services.measures import Measures
from headrace.services.routes import Routes
from headrace.services.streams import Streams
from headrace.services.verify import Verification
from headrace.services.witness import Witness
from headrace.settings import Settings, check_auth

TRACES_S: Final = 2.0
"""How long the end waits for the last traces to be sent."""


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
    state: State
    routes: Routes
    idempotency: Idempotency
    access: Access

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
        choice = self.inference.choose(Asked(name, version))
        inputs = rows_to_inputs(choice.pipeline, rows)
        return (await self.inference.infer(choice, inputs, RequestContext(options=options or {}))).outcomes()

    def verification(self, pipeline: Pipeline) -> Verification:
        """A comparison of the ways to ask *pipeline*."""
        return Verification(self.inference, LocalTables(), MemoryBroker(), pipeline)

    async def start(self) -> None:
        """Load everything that is declared."""
        if (hooks := self.inference.engine.hooks) is not None:
            await hooks.started()
        await self.state.start()
        await self.routes.refresh()
        await self.deployments.start()

    async def close(self, drain_s: float = 30.0) -> int:
        """Finish what was asked within *drain_s* and let go of every model; returns how much of it was cut."""
        began = time.monotonic()
        cut = await self.streams.drain(drain_s)
        await self.streams.stop()
        cut += await self.inference.engine.close(max(0.0, began + drain_s - time.monotonic()))
        self.inference.forget_choices()  # they hold the models
        if self.inference.answers is not None:
            await self.inference.answers.close()
        await self.access.close()
        await self.state.close()
        if (hooks := self.inference.engine.hooks) is not None:
            await hooks.stopped()
        if (witness := self.inference.engine.witness) is not None:
            await asyncio.to_thread(witness.telemetry.close, TRACES_S)
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
        check_url(reader, settings.cache, settings.cache.url)
        check_state_url(reader, settings.state, settings.state.url)
        check_auth(reader, settings.auth)
        check_installed(reader, settings.telemetry, settings.telemetry.otlp_endpoint)
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
        workers=settings.api.workers,
    )


def assemble(settings: Settings, workspace: WorkspaceFiles, *, workers: int = 1) -> Application:
    """Put the parts together, for one of *workers* processes that share the processors; nothing is loaded yet."""
    hooks = load_hooks(settings.hooks, workspace.root)
    prices = settings.telemetry.price_per_device_s
    measures = Measures(Prices(prices, settings.telemetry.currency) if prices else None)
    places = share(workers)
    engine = Engine(
        Executor(max(2, places)),
        places=places,
        measures=measures,
        hooks=Hooks(hooks) if hooks else None,
        witness=_witness(settings),
    )
    kept = settings.cache
    answers = Answers(open_cache(kept.url, kept.memory_mb, kept.timeout_ms / 1e3), engine.measures)
    inference = Inference(engine, Router(engine.registry), answers=answers)
    streams = Streams(MemoryBroker(), inference)
    deployments = Deployments(inference, workspace)
    state = State(settings.state.url, workspace.root)
    jobs = Jobs(inference, LocalTables(), StateJobs(state))
    routes = Routes(inference.router, deployments, StateRoutes(state))
    idempotency = Idempotency(StateAnswers(state), settings.state.idempotency_ttl_s)
    access = Access(StateKeys(state))
    return Application(settings, inference, deployments, jobs, streams, state, routes, idempotency, access)


def _witness(settings: Settings) -> Witness | None:
    """What traces and logs single requests; None where neither is wanted."""
    wanted, lines = settings.telemetry, settings.logging.requests
    if wanted.otlp_endpoint is None:
        return None if lines == "none" else Witness(None, lines)
    traces = OpenTelemetry(
        wanted.otlp_endpoint,
        share=wanted.sample,
        service=settings.framework.name,
        version=settings.framework.version,
        headers={name: value.reveal() for name, value in wanted.otlp_headers.items()},
    )
    return Witness(traces, lines)


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
    warnings = [*map(str, found.warnings), *_apart(settings, found.declared)]
    return Report(tuple(mistakes), tuple(warnings))


def _apart(settings: Settings | None, declared: Declared) -> Iterator[str]:
    """What each worker has for itself, where people may expect one for all."""
    if settings is None or settings.api.workers == 1 or not settings.cache.url.in_memory:
        return
    names = sorted({spec.name for spec in declared.pipelines.values() if spec.cache is not None})
    if names:
        kept = f"each of the {settings.api.workers} workers keeps its own answers of {', '.join(names)}"
        yield f"api.workers: {kept}; cache.url: redis://... keeps them for all"


@asynccontextmanager
async def open_application(config: Path) -> AsyncIterator[Application]:
    """The workspace of *config*, loaded for the length of an ``async with`` block."""
    async with Loading(config) as application:
        yield application


@asynccontextmanager
async def open_access(config: Path) -> AsyncIterator[tuple[Access, bool]]:
    """Callers' keys of the workspace of *config*, and whether its server asks for one; nothing is loaded."""
    settings, root = load_settings(config)
    state = State(settings.state.url, root)
    try:
        yield Access(StateKeys(state)), settings.asks_callers
    finally:
        await state.close()


@asynccontextmanager
async def open_jobs(config: Path) -> AsyncIterator[JobStore]:
    """What the workspace of *config* remembers of jobs; nothing is loaded."""
    settings, root = load_settings(config)
    state = State(settings.state.url, root)
    try:
        yield StateJobs(state)
    finally:
        await state.close()
