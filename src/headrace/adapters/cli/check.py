"""`headrace check`: does the configuration hold, and with `--load`, do the models load and answer?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.adapters.cli import interruption
from headrace.adapters.cli.commands import Application, Commands, Report
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import counted, json_line, print_table
from headrace.domain.errors import EngineError
from headrace.domain.routing import Asked
from headrace.services.context import RequestContext
from headrace.services.inputs import rows_to_inputs

if TYPE_CHECKING:
    from headrace.domain.ports import Declared
    from headrace.services.deployments import Deployment

FAILED, MISTAKEN = 1, 2
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One pipeline that was loaded: *example* is the number of the input that was tried, *ms* its best time."""

    pipeline: str
    version: str
    state: str
    example: int | None = None
    ms: float | None = None
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether the pipeline or its example does not work."""
        return bool(self.error) or self.state == "failed"


@click.command(short_help="Find every mistake in the configuration.")
@config_option
@click.option("--load", is_flag=True, help="Also load the models, run the pipelines' examples, and time them.")
@json_option
@click.pass_obj
def check(commands: Commands, config: Path | None, load: bool, as_json: bool) -> int:
    """Tell every mistake in the configuration at once, each as FILE:LINE: what is wrong and what would work.

    Looks at all files under config/ and at whether steps and models fit together. Serves nothing.

    \b
    Examples:
      headrace check
      headrace check --load
      headrace check --config shop/config/main.yaml --json
    """
    file = config_file(config)
    report = commands.check(file)
    trials: list[Trial] = []
    if load and not report.mistakes:
        trials = interruption.run(try_examples(commands, file))
    if as_json:
        click.echo(json_line(report_data(report, trials)))
    else:
        show(report, trials, None if report.mistakes else commands.declared(file))
    if report.mistakes:
        return MISTAKEN
    return FAILED if any(trial.failed for trial in trials) else 0


def report_data(report: Report, trials: list[Trial]) -> dict[str, object]:
    """What `--json` prints."""
    ok = not report.mistakes and not any(trial.failed for trial in trials)
    return {
        "ok": ok,
        "mistakes": list(report.mistakes),
        "warnings": list(report.warnings),
        "examples": [asdict(trial) for trial in trials],
    }


def show(report: Report, trials: list[Trial], declared: Declared | None) -> None:
    """Print the report for a person; *declared* is None when there are mistakes."""
    for line in report.warnings:
        click.echo(f"warning: {line}")
    for line in report.mistakes:
        click.echo(line)
    if declared is None:
        click.echo(f"error: {counted(len(report.mistakes), 'mistake')} in the configuration", err=True)
        return
    if trials:
        print_table(
            ("pipeline", "version", "state", "example", "ms"),
            [
                (
                    trial.pipeline,
                    trial.version,
                    trial.state,
                    "none" if trial.example is None else str(trial.example),
                    "" if trial.ms is None else f"{trial.ms:.2f}",
                )
                for trial in trials
            ],
        )
    for trial in trials:
        if trial.failed:
            click.echo(f"error: {trial.pipeline}@{trial.version}: {trial.error}", err=True)
    if not any(trial.failed for trial in trials):
        click.echo(f"ok: {_census(declared)}")


def _census(declared: Declared) -> str:
    counts = [(len(declared.pipelines), "pipeline"), (len(declared.models), "model"), (len(declared.routes), "route")]
    return ", ".join(counted(number, noun) for number, noun in counts if number) or "nothing is declared yet"


async def try_examples(commands: Commands, config: Path) -> list[Trial]:
    """Load the workspace and run the examples of each pipeline."""
    trials: list[Trial] = []
    async with commands.open_application(config) as application:
        for deployment in application.deployments.status():
            trials += await _tried(application, deployment)
    return trials


async def _tried(application: Application, deployment: Deployment) -> list[Trial]:
    name, version = deployment.ref.name, deployment.ref.version
    if deployment.state != "ready":
        return [Trial(name, version, deployment.state, error=deployment.reason)]
    trials = []
    for number, row in enumerate(application.deployments.workspace.examples(deployment.spec), 1):
        try:
            ms = await _best_ms(application, Asked(name, version), row)
            trials.append(Trial(name, version, "ready", number, ms))
        except EngineError as error:
            trials.append(Trial(name, version, "ready", number, error=f"example {number}: {error.message}"))
    return trials or [Trial(name, version, "ready")]


async def _best_ms(application: Application, asked: Asked, row: Mapping[str, Any]) -> float:
    """The shortest of a few runs, in milliseconds: other load on the machine only ever adds time."""
    choice = application.inference.choose(asked)
    inputs = rows_to_inputs(choice.pipeline, [row])
    times = []
    for _ in range(ATTEMPTS):
        started = time.perf_counter()
        result = await application.inference.infer(choice, inputs, RequestContext("check", door="cli", fresh=True))
        times.append(time.perf_counter() - started)
        if (error := result.error()) is not None:
            raise error
    return min(times) * 1000
