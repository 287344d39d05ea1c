"""`headrace predict`: one answer from a pipeline of the workspace, in this process and without a server."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from headrace.adapters.cli import interruption
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.files import read_bytes, with_files
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import json_line, json_text, outcome_data, print_table
from headrace.adapters.explaining import Stopwatch, explained
from headrace.domain.errors import EngineError, InvalidInput, InvalidRequest
from headrace.domain.routing import Asked
from headrace.services.context import RequestContext
from headrace.services.inputs import rows_to_inputs

if TYPE_CHECKING:
    from headrace.domain.pipeline import Pipeline

Rows = Sequence[Mapping[str, Any]]
FAILED = 1
PHASES = ("preprocess", "infer", "postprocess")
"""Parts of a request that are shown step by step."""


@click.command(short_help="Ask a pipeline, without a server.")
@click.argument("pipeline", metavar="PIPELINE[@VERSION|@ALIAS]")
@click.argument("more_files", nargs=-1, metavar="", type=click.Path(path_type=Path))
@click.option("--inputs", metavar="JSON", help="One row as an object, or a list of rows; @FILE and - read them.")
@click.option("--file", "files", metavar="FILE...", multiple=True, type=click.Path(path_type=Path),
              help="Files to send, a row each, to the pipeline's only input of bytes or text.")  # fmt: skip
@click.option("--explain", is_flag=True, help="Also tell where the time went and which route was taken.")
@config_option
@json_option
@click.pass_obj
def predict(
    commands: Commands, pipeline: str, more_files: tuple[Path, ...], inputs: str | None, files: tuple[Path, ...],
    explain: bool, config: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Load the workspace, run PIPELINE once, and print what it answers as JSON.

    A value {"file": "PATH"} in the inputs is replaced by the bytes of that file. Exit code 1 when a row failed.

    \b
    Examples:
      headrace predict digits --file examples/three.png
      headrace predict digits@1 --file examples/*.png --json
      headrace predict hello --inputs '{"text": "Hello"}'
      headrace predict hello --inputs @rows.json
    """
    if (inputs is None) == (not files):
        raise click.UsageError("say what to send: either --inputs JSON or --file FILE")
    if more_files and not files:
        raise click.UsageError(f"what is {str(more_files[0])!r} for? Files are named after --file")
    name, _, version = pipeline.partition("@")
    asked = Asked(name, version or None)
    given = parse_inputs(inputs) if inputs is not None else [*files, *more_files]
    return interruption.run(_predict(commands, config_file(config), asked, given, explain=explain, as_json=as_json))


async def _predict(commands: Commands, config: Path, asked: Asked, given: Any, *, explain: bool, as_json: bool) -> int:
    async with commands.open_application(config) as application:
        choice = application.inference.choose(asked)
        watch = Stopwatch()
        inputs = rows_to_inputs(choice.pipeline, rows_of(given, choice.pipeline))
        request = RequestContext("cli", door="cli", fresh=True)
        result = await watch.following(application.inference.infer(choice, inputs, request))
    outcomes = result.outcomes()
    single = isinstance(given, Mapping) or (isinstance(given, list) and len(given) == 1 and isinstance(given[0], Path))
    if single and isinstance(outcomes[0], EngineError):
        raise outcomes[0]
    shown = [outcome_data(outcome) for outcome in outcomes]
    answer: dict[str, Any] = {
        "pipeline": result.ref.name,
        "version": result.ref.version,
        "outputs": shown[0] if single else shown,
    }
    if explain:
        answer["explain"] = explained(result, watch)
    if as_json:
        click.echo(json_line(answer))
    else:
        _show(answer)
    return FAILED if result.error() is not None else 0


def parse_inputs(text: str) -> Any:
    """The JSON of ``--inputs``: as written, from ``@FILE``, or from standard input for ``-``."""
    source = "--inputs"
    if text == "-":
        source, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        source = text[1:]
        text = read_bytes(Path(source)).decode(errors="replace")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f'{source} is not JSON: {error}; wanted is, for example, \'{{"text": "Hello"}}\''
        ) from None


def rows_of(given: Any, pipeline: Pipeline) -> Rows:
    """The rows to send: those in JSON with their files read, or one row for each file."""
    if isinstance(given, Mapping):
        return [with_files(given, Path())]
    if not isinstance(given, list) or not given:
        raise InvalidRequest("inputs are one row as an object, or a list of rows with at least one in it")
    if isinstance(given[0], Path):
        return rows_from_files(given, pipeline)
    for number, row in enumerate(given):
        if not isinstance(row, Mapping):
            raise InvalidRequest(f"row {number} of the inputs is no object: {json_line(row)[:60]}")
    return [with_files(row, Path()) for row in given]


def rows_from_files(files: Sequence[Path], pipeline: Pipeline) -> Rows:
    """One row for each file, in the pipeline's only input of bytes, or of text if it has none of bytes."""
    for dtype in ("bytes", "string"):
        names = [name for name, spec in pipeline.inputs.items() if spec.dtype == dtype]
        if len(names) == 1:
            contents = [read_bytes(file) for file in files]
            return [{names[0]: content if dtype == "bytes" else _text(content)} for content in contents]
    inputs = ", ".join(f"{name} ({spec.dtype})" for name, spec in pipeline.inputs.items())
    raise InvalidRequest(f"{pipeline.ref} has no single input that a file could be; use --inputs. It takes: {inputs}")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the file is not text in UTF-8: {error.reason} at byte {error.start}") from None


def _show(answer: Mapping[str, Any]) -> None:
    click.echo(json_text(answer["outputs"]))
    if (told := answer.get("explain")) is None:
        return
    click.echo(f"\n{answer['pipeline']}@{answer['version']} by {told['route']}, batch of {told['batch_size']}")
    rows = [(step["phase"], step["name"], f"{step['ms']:.3f}") for step in told["steps"]]
    rows += [(part, "", f"{ms:.3f}") for part, ms in told["parts"].items() if part not in PHASES]
    print_table(("phase", "step", "ms"), [*rows, ("total", "", f"{told['total_ms']:.3f}")])
