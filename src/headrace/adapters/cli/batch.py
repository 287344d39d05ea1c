"""`headrace batch`: a whole table through a pipeline of the workspace, in this process and without a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from headrace.adapters.cli import interruption
from headrace.adapters.cli.batch_jobs import list_jobs, remembered, show_job
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import json_line
from headrace.domain.routing import Asked

if TYPE_CHECKING:
    from headrace.services.job_orders import Order, Progress

FAILED = 1
Report = Callable[["Progress"], None]


@click.group(short_help="Run whole tables through a pipeline.")
def batch() -> None:
    """Run whole tables through a pipeline: files in CSV, JSON lines or Parquet, by the end of their names.

    Every run is remembered in the state database of the workspace.
    """


@batch.command(short_help="Answer every row of a file.")
@click.argument("pipeline", metavar="PIPELINE[@VERSION|@ALIAS]")
@click.option("--input", "source", required=True, metavar="FILE",
              help="The table: .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet.")  # fmt: skip
@click.option("--output", required=True, metavar="FILE", help="Where the answers go, in any of these formats.")
@click.option("--errors", metavar="FILE",
              help="Where failed rows go.  [default: OUTPUT.errors.jsonl, if there are any]")  # fmt: skip
@click.option("--keep", metavar="[NAME=]COLUMN", multiple=True,
              help="Pass a column of the input on, under a NAME if you like; '*' is all. Repeat for more.")  # fmt: skip
@click.option("--map", "given", metavar="INPUT=COLUMN", multiple=True,
              help="The column of a pipeline's input, where the names differ. Repeat for more.")  # fmt: skip
@click.option("--row-number", is_flag=True, help="Add the column `row`: the row's number in the input, from 1.")
@click.option("--options", metavar="JSON", default="{}", help="Options of the request, as an object.")
@click.option("--chunk-rows", type=click.IntRange(min=1), default=65_536, show_default=True,
              help="Rows read at a time; fewer where rows are large.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 when any row failed, not only when all did.")
@config_option
@json_option
@click.pass_obj
def run(
    commands: Commands, pipeline: str, source: str, output: str, errors: str | None, keep: Sequence[str],
    given: Sequence[str], row_number: bool, options: str, chunk_rows: int, strict: bool, config: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Load the workspace and answer every row of a file, in the order of the file.

    A row that fails is missing in the output and stands in the errors file with its number, code, message and
    original values. The output appears under its name once it is complete. Exit code 1 when every row failed.

    \b
    Examples:
      headrace batch run iris --input flowers.csv --output answers.csv --keep id
      headrace batch run iris@2 --input flowers.parquet --output answers.parquet --row-number
      headrace batch run digits --input scans.jsonl --output answers.jsonl --map image=scan --errors failed.jsonl
    """
    from headrace.services.job_orders import Order

    name, _, version = pipeline.partition("@")
    order = Order(
        Asked(name, version or None), source, output, errors,
        given=_pairs(given, "--map", "INPUT=COLUMN"),
        keep=dict(_kept(one) for one in keep),
        options=_object(options),
        chunk_rows=chunk_rows,
        row_number=row_number,
    )  # fmt: skip
    done = interruption.run(_run(commands, config_file(config), order))
    return _report(order, done, strict, as_json)


@batch.command(short_help="Run again what was interrupted, failed or cancelled.")
@click.argument("job")
@click.option("--strict", is_flag=True, help="Exit with 1 when any row failed, not only when all did.")
@config_option
@json_option
@click.pass_obj
def resume(commands: Commands, job: str, strict: bool, config: Path | None, as_json: bool) -> int:
    """Run a job again that did not come to its end: the same files, columns, options and version of the pipeline.

    It begins at the first row, and goes on under its id as its next attempt. `headrace batch list` shows the ids.

    \b
    Examples:
      headrace batch resume 5f0c2a9e71d3
    """
    order, done = interruption.run(_resume(commands, config_file(config), job))
    return _report(order, done, strict, as_json)


for command in (list_jobs, show_job):
    batch.add_command(command)


async def _run(commands: Commands, config: Path, order: Order) -> Progress:
    async with commands.open_application(config) as application:
        with progress_bar(order.input) as report:
            return await application.jobs.run(order, report)


async def _resume(commands: Commands, config: Path, id: str) -> tuple[Order, Progress]:
    from headrace.services.job_orders import order_of

    order = order_of(await remembered(commands, config, id))  # before anything is loaded
    async with commands.open_application(config) as application:
        with progress_bar(order.input) as report:
            return order, await application.jobs.resume(id, report)


def _report(order: Order, done: Progress, strict: bool, as_json: bool) -> int:
    """Print what came of it, and return the exit code."""
    click.echo(json_line(summary(order, done)) if as_json else told(order, done))
    failed = done.failed > 0 if strict else 0 < done.rows == done.failed
    return FAILED if failed else 0


def _pairs(given: Sequence[str], option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in given:
        name, sign, column = one.partition("=")
        if not (name and sign and column):
            raise click.UsageError(f"{option} wants {form}, not {one!r}")
        if name in pairs:
            raise click.UsageError(f"{option} names a column of {name!r} twice: {pairs[name]!r} and {column!r}")
        pairs[name] = column
    return pairs


def _kept(text: str) -> tuple[str, str]:
    """The name in the output and the column of ``NAME=COLUMN`` or ``COLUMN``."""
    name, sign, column = text.partition("=")
    return (name, column) if name and sign and column else (text, text)


def _object(text: str) -> Mapping[str, Any]:
    try:
        options = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise click.UsageError(f"--options is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise click.UsageError(f'--options wants an object, such as {{"explain": true}}, not {text[:40]}')
    return options


def summary(order: Order, done: Progress) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "job": done.job,
        "pipeline": done.ref.name,
        "version": done.ref.version,
        "input": order.input,
        "output": order.output,
        "errors": done.errors,
        "rows": done.rows,
        "written": done.rows - done.failed,
        "failed": done.failed,
        "seconds": round(done.seconds, 3),
        "rows_per_s": round(done.rows_per_s, 1),
    }


def told(order: Order, done: Progress) -> str:
    """The same for a person."""
    took = f"in {done.seconds:.1f} s ({done.rows_per_s:,.0f} rows/s)"
    lines = [f"{done.ref}: {_rows(done.rows - done.failed)} to {order.output} {took}"]
    if done.failed:
        lines.append(f"{_rows(done.failed)} failed: see {done.errors}")
    return "\n".join(lines)


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


@contextmanager
def progress_bar(source: str) -> Iterator[Report]:
    """A bar on stderr where that is a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress as parts
    from rich.console import Console

    columns = (
        parts.TextColumn("{task.description}"), parts.BarColumn(), parts.TaskProgressColumn(),
        parts.TextColumn("{task.fields[rows]}"), parts.TimeRemainingColumn(),
    )  # fmt: skip
    with parts.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(Path(source).name, total=1.0, rows="")
        yield lambda done: bar.update(task, completed=done.read, rows=_shown(done))


def _shown(done: Progress) -> str:
    failed = f", {done.failed:,} failed" if done.failed else ""
    return f"{done.rows:,} rows, {done.rows_per_s:,.0f}/s{failed}"
