"""`headrace verify`: the same rows through every door and speed, and every difference between the answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.adapters.cli import interruption
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import json_line
from headrace.domain.routing import Asked

if TYPE_CHECKING:
    from headrace.services.verify import Verdict

DIFFERENT = 1


@click.command(short_help="Compare the answers of every door and speed.")
@click.argument("pipeline", metavar="PIPELINE[@VERSION|@ALIAS]")
@click.option("--data", required=True, metavar="FILE", help="Rows to send: .csv, .jsonl or .parquet, also with .gz.")
@click.option("--show", type=click.IntRange(min=1), default=10, show_default=True, help="Differences to print.")
@config_option
@json_option
@click.pass_obj
def verify(commands: Commands, pipeline: str, data: str, show: int, config: Path | None, as_json: bool) -> int:
    """Send the rows of a file through requests (JSON and V2), a stream and a batch run, and compare.

    Each row asked alone is the measure. Integers, texts, labels and error codes must be equal; floats may differ by
    a relative 1e-5 or an absolute 1e-6. Exit code 1 if there is a difference.

    \b
    Examples:
      headrace verify iris --data flowers.csv
      headrace verify digits@2 --data scans.jsonl --show 3
    """
    name, _, version = pipeline.partition("@")
    asked = Asked(name, version or None, steady=True)
    verdict = interruption.run(_run(commands, config_file(config), asked, data, quiet=as_json))
    if as_json:
        click.echo(json_line(_summary(verdict)))
    else:
        _print(verdict, show)
    return DIFFERENT if verdict.disagreements else 0


async def _run(commands: Commands, config: Path, asked: Asked, data: str, *, quiet: bool) -> Verdict:
    from headrace.adapters.cli.verify_http import native, open_inference

    async with commands.open_server(config) as (application, url):
        inference = application.inference
        pipeline = inference.choose(asked).pipeline
        ways = {"HTTP JSON": native(url, pipeline), "HTTP V2": open_inference(url, pipeline)}

        def tell(way: str) -> None:
            if not quiet:
                click.echo(f"{way} ...", err=True)

        verdict = await application.verification(pipeline).run(data, ways, tell)
    return verdict


def _print(verdict: Verdict, show: int) -> None:
    for one in verdict.disagreements[:show]:
        click.echo(str(one))
    more = len(verdict.disagreements) - show
    if more > 0:
        click.echo(f"... and {more} more")
    failed = f", {verdict.failed} of them with the same error each way" if verdict.failed else ""
    ways = ", ".join(verdict.ways)
    if verdict.disagreements:
        click.echo(
            f"{len(verdict.disagreements)} differences in {verdict.rows} rows; compared with each row alone: {ways}"
        )
    else:
        click.echo(f"no difference in {verdict.rows} rows{failed}; compared with each row alone: {ways}")


def _summary(verdict: Verdict) -> dict[str, object]:
    return {
        "rows": verdict.rows,
        "failed": verdict.failed,
        "ways": list(verdict.ways),
        "differences": [
            {"way": one.way, "row": one.row, "where": one.difference.where, "text": str(one.difference)}
            for one in verdict.disagreements
        ],
    }
