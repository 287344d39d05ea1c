"""Which options do several commands share, and what do they accept?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_CONFIG = Path("config/main.yaml")


def config_file(value: Path | None) -> Path:
    """The main file that ``--config`` names; a workspace folder stands for its config/main.yaml, None for this one."""
    if value is None:
        if DEFAULT_CONFIG.is_file():
            return DEFAULT_CONFIG
        raise click.UsageError(
            f"there is no {DEFAULT_CONFIG} here; make a workspace with `headrace init`, go into one, "
            "or name its file with --config"
        )
    file = value / DEFAULT_CONFIG if value.is_dir() else value
    if not file.is_file():
        raise click.UsageError(f"there is no file {file}")
    return file


def config_option(command: F) -> F:
    """Add ``--config``; the command gets *config*, a path for `config_file` or None."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"The workspace's main file, or the folder of the workspace.  [default: {DEFAULT_CONFIG}]",
    )(command)


def json_option(command: F) -> F:
    """Add ``--json``; the command gets *as_json*."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")(command)
