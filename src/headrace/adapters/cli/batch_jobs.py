"""`headrace batch list` and `status`: what is remembered of tables that were, or are, answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from headrace.adapters.cli import interruption
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import json_line, json_text, print_table
from headrace.domain.jobs import STATUSES, Job, Status

HEADINGS: Final = ("job", "pipeline", "status", "rows", "failed", "read", "started", "took", "output")


@click.command("list", short_help="List runs, the newest first.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those of this status.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@config_option
@json_option
@click.pass_obj
def list_jobs(commands: Commands, status: Status | None, limit: int, config: Path | None, as_json: bool) -> None:
    """List the runs that the workspace remembers, the newest first: those of the last 90 days.

    A run whose process is gone, or has not been heard of for a minute, is shown as interrupted.

    \b
    Examples:
      headrace batch list
      headrace batch list --status interrupted --json
    """
    found = interruption.run(_newest(commands, config_file(config), limit, status))
    if as_json:
        click.echo(json_line([shown(job) for job in found]))
    elif not found:
        click.echo("there are no such runs" if status else "there are no runs yet; `headrace batch run` makes one")
    else:
        print_table(HEADINGS, map(_cells, found))


@click.command("status", short_help="Show one run.")
@click.argument("job")
@config_option
@json_option
@click.pass_obj
def show_job(commands: Commands, job: str, config: Path | None, as_json: bool) -> None:
    """Show everything that is remembered of a run: what was asked, how far it is, and what ended it.

    \b
    Examples:
      headrace batch status 5f0c2a9e71d3
      headrace batch status 5f0c2a9e71d3 --json
    """
    found = shown(interruption.run(remembered(commands, config_file(config), job)))
    click.echo(json_line(found) if as_json else json_text(found))


async def _newest(commands: Commands, config: Path, limit: int, status: Status | None) -> Sequence[Job]:
    async with commands.open_jobs(config) as store:
        return await store.newest(limit, status)


async def remembered(commands: Commands, config: Path, id: str) -> Job:
    """The job of that *id*; nothing is loaded. Raises NotFound."""
    from headrace.services.job_orders import job_of

    async with commands.open_jobs(config) as store:
        return await job_of(store, id)


def shown(job: Job) -> dict[str, Any]:
    """What `--json` prints of a job."""
    asked = {name: value for name, value in job.asked.items() if name not in ("input", "output", "errors")}
    return {
        "job": job.id,
        "status": job.status,
        "pipeline": job.pipeline,
        "version": job.version,
        "input": job.asked.get("input"),
        "output": job.asked.get("output"),
        "errors": job.errors,
        "rows": job.rows,
        "written": job.rows - job.failed,
        "failed": job.failed,
        "read": round(job.read, 4),
        "total": job.total,
        "seconds": round(job.seconds, 3),
        "error": None if job.code is None else {"code": job.code, "message": job.message},
        "attempt": job.attempt,
        "asked": asked,
        "host": job.host,
        "pid": job.pid,
        "started_at": _time(job.started_at),
        "updated_at": _time(job.updated_at),
        "ended_at": None if job.ended_at is None else _time(job.ended_at),
    }


def _cells(job: Job) -> list[str]:
    return [
        job.id,
        f"{job.pipeline}@{job.version}",
        job.status,
        f"{job.rows:,}",
        f"{job.failed:,}",
        f"{job.read:.0%}",
        _time(job.started_at).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        f"{job.seconds:.1f} s",
        str(job.asked.get("output", "")),
    ]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)
