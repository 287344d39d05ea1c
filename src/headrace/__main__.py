"""What happens when somebody types `headrace`? The assembled application is handed to the command line."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.adapters.cli import app
from headrace.adapters.cli.commands import Application, Commands, Report

if TYPE_CHECKING:
    from headrace.domain.ports import Declared, JobStore
    from headrace.services.access import Access

# `headrace --help` is fast because `assembly`, which imports every folder, is imported by the verbs that need it.


def serve(
    config: Path,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    grpc_port: int | None = None,
) -> int:
    """Serve the workspace of *config* until it is stopped; return the exit code."""
    from headrace import serving

    return serving.serve(config, host=host, port=port, workers=workers, grpc_port=grpc_port)


def check(config: Path) -> Report:
    """Look at the workspace of *config* without loading a model."""
    from headrace import assembly

    return assembly.check(config)


def declared(config: Path) -> Declared:
    """What the files of the workspace say. Raises InvalidConfig."""
    from headrace import assembly

    return assembly.declared(config)


def open_application(config: Path) -> AbstractAsyncContextManager[Application]:
    """The workspace of *config*, loaded for the length of an ``async with`` block."""
    from headrace import assembly

    return assembly.open_application(config)


def open_server(config: Path) -> AbstractAsyncContextManager[tuple[Application, str]]:
    """The same, served over HTTP on a free port; with it, its URL."""
    from headrace import serving

    return serving.open_server(config)


def open_access(config: Path) -> AbstractAsyncContextManager[tuple[Access, bool]]:
    """The callers' keys of the workspace, and whether its server asks for one."""
    from headrace import assembly

    return assembly.open_access(config)


def open_jobs(config: Path) -> AbstractAsyncContextManager[JobStore]:
    """What the workspace remembers of jobs."""
    from headrace import assembly

    return assembly.open_jobs(config)


def main() -> None:
    """The `headrace` command."""
    sys.exit(app.main(Commands(serve, check, declared, open_application, open_server, open_access, open_jobs)))


if __name__ == "__main__":
    main()
