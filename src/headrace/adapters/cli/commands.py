"""What does the command line need from the assembled application? `__main__` hands it over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `headrace --help` must not wait for the engine to be imported
    from headrace.domain.pipeline import Pipeline
    from headrace.domain.ports import Declared, JobStore
    from headrace.services.access import Access
    from headrace.services.deployments import Deployments
    from headrace.services.inference import Inference
    from headrace.services.jobs import Jobs
    from headrace.services.verify import Verification


class Report(Protocol):
    """What a look at the configuration found, as lines ``file:line: what is wrong``."""

    @property
    def mistakes(self) -> Sequence[str]:
        """What keeps the workspace from being served."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is probably not meant."""


class Application(Protocol):
    """A workspace that is loaded in this process."""

    @property
    def inference(self) -> Inference:
        """Answers requests."""

    @property
    def deployments(self) -> Deployments:
        """Knows what is loaded."""

    @property
    def jobs(self) -> Jobs:
        """Runs whole tables."""

    def verification(self, pipeline: Pipeline) -> Verification:
        """A comparison of the ways to ask a pipeline."""


class Serve(Protocol):
    """Serves until it is stopped; blocks."""

    def __call__(
        self,
        config: Path,
        host: str | None = None,
        port: int | None = None,
        workers: int | None = None,
        grpc_port: int | None = None,
    ) -> int:
        """Return the exit code. What is None comes from the configuration."""


@dataclass(frozen=True, slots=True)
class Commands:
    """The application's own functions, each for one configuration file.

    *check* looks without loading; *declared* reads what the files say and raises InvalidConfig; *open_application*
    loads it all for the length of an ``async with`` block, and *open_server* serves it over HTTP as well. *open_access*
    gives the callers' keys, and whether the server asks for one, *open_jobs* what is remembered of jobs; they load
    nothing.
    """

    serve: Serve
    check: Callable[[Path], Report]
    declared: Callable[[Path], Declared]
    open_application: Callable[[Path], AbstractAsyncContextManager[Application]]
    open_server: Callable[[Path], AbstractAsyncContextManager[tuple[Application, str]]]
    open_access: Callable[[Path], AbstractAsyncContextManager[tuple[Access, bool]]]
    open_jobs: Callable[[Path], AbstractAsyncContextManager[JobStore]]
