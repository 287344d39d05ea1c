"""Which pages of the documentation are written by the code itself, and are they up to date?

``reference.py`` writes docs/reference/{configuration,steps,cli,errors,metrics}.md and docs/examples/*.md from their
sources of truth; ``reference.py --check`` only tells which of them are stale, and fails if any is.
"""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headrace.adapters.cli.app import headrace
from headrace.adapters.http.errors import STATUS
from headrace.core.settings import Setting, describe
from headrace.domain import errors
from headrace.domain.errors import EngineError
from headrace.domain.parameters import REQUIRED, shown
from headrace.domain.spec import ModelSpec, PipelineSpec, RouteSpec, StreamSpec
from headrace.domain.step import StepType, step_type
from headrace.domain.steps import STEPS
from headrace.domain.tensors import TensorSpec
from headrace.infra.cache.memory import MemoryCache
from headrace.services.answers import Answers
from headrace.services.costs import Prices
from headrace.services.crew import Crew
from headrace.services.engine import Engine
from headrace.services.exposition import expose
from headrace.services.hooks import Hooks
from headrace.services.measures import Measures
from headrace.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MARK = "<!-- Written by scripts/reference.py; change its source instead, and run it. -->\n\n"
KEYS = re.compile(r"a mapping \((?!each)[a-z0-9_, ]+\)")  # a mapping's own keys have rows of their own
LATER = "kept for a later version"


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` tell which are stale; return an exit code."""
    if "--check" in arguments:
        stale = [str(path.relative_to(ROOT)) for path, text in pages().items() if not is_current(path, text)]
        if stale:
            print(f"stale: {', '.join(stale)}; run: python scripts/reference.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


def is_current(path: Path, text: str) -> bool:
    """Whether *path* holds *text* already."""
    return path.exists() and path.read_text() == text


def pages() -> dict[Path, str]:
    """Every generated page, by its file."""
    reference = DOCS / "reference"
    found = {
        reference / "configuration.md": configuration(),
        reference / "steps.md": steps(),
        reference / "cli.md": command_line(),
        reference / "errors.md": error_codes(),
        reference / "metrics.md": metrics(),
    }
    for readme in sorted((ROOT / "examples").glob("*/README.md")):
        found[DOCS / "examples" / f"{readme.parent.name}.md"] = MARK + readme.read_text()
    return found


def configuration() -> str:
    """What may stand in the files under config/."""
    return MARK + "\n".join(
        [
            "# Configuration\n",
            "`config/main.yaml`, and a file for each thing under `config/models/`, `config/pipelines/`, "
            "`config/routes/` and\n`config/streams/`. Paths start at the workspace root, the folder above `config/`. "
            "Unknown keys are mistakes.\n`${NAME}` and `${NAME:-default}` stand for variables of the environment or of "
            "`.env`; `$${` is a plain `${`.\n",
            "## config/main.yaml\n",
            settings_table([row for row in describe(Settings) if row.doc != LATER and row.doc]),
            textwrap.fill(
                "Accepted already, and without effect in this version: "
                + ", ".join(f"`{row.key}`" for row in describe(Settings) if row.doc == LATER),
                118,
                break_long_words=False,
                break_on_hyphens=False,
                initial_indent="\n",
            )
            + ".\n",
            "## config/models/NAME.yaml\n",
            settings_table(named(describe(ModelSpec))),
            "\n## config/pipelines/NAME.yaml\n",
            "Everything may also stand under one key `pipeline:`.\n",
            settings_table(pipeline_rows()),
            "\nAn entry under `postprocessing` has the keys of one under `preprocessing`; a model written here has "
            "those of a\nmodel's file.\n",
            "## config/routes/NAME.yaml\n",
            settings_table(named(describe(RouteSpec))),
            "\n## config/streams/NAME.yaml\n",
            settings_table(named(describe(StreamSpec))),
            "",
        ]
    )


def pipeline_rows() -> list[Setting]:
    """The keys of a pipeline's file, each told once."""
    rows = named(describe(PipelineSpec))
    return [row for row in rows if not row.key.startswith(("model.", "postprocessing[]"))]


def named(rows: Sequence[Setting]) -> list[Setting]:
    """*rows* in which the name is not required, since the file's stem is its default."""
    return [row._replace(default="the file's stem") if row.key == "name" else row for row in rows]


def settings_table(rows: Sequence[Setting]) -> str:
    """*rows* as a table."""
    lines = ["| key | value | default | what it does |", "| --- | --- | --- | --- |"]
    for row in rows:
        kind = KEYS.sub("a mapping", row.type)
        default = row.default if row.default in ("required", "the file's stem", "") else f"`{row.default}`"
        lines.append(f"| `{row.key}` | {cell(kind)} | {cell(default)} | {cell(row.doc)} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """*text* for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def steps() -> str:
    """The built-in steps, by their kind of data."""
    parts = [
        MARK + "# Steps\n\nThe built-in steps. A workspace adds its own ([how](../how-to/write-a-step.md)); `headrace "
        "check` compares the columns\nthat steps read and write. A step that takes any fitting column is told which by "
        "`column: NAME`.\n"
    ]
    for name, function in STEPS.items():
        kind = step_type(function)
        parts.append(f"## {name}\n")
        parts.append(with_example(inspect.getdoc(function) or ""))
        parts.append(f"\n- reads: {columns_text(reads_of(kind))}\n- writes: {columns_text(writes_of(kind))}\n")
        if kind.signature.parameters:
            parts.append(parameters_table(kind))
        if kind.signature.rest is not None:
            parts.append(f"Any further parameter: {shown(kind.signature.rest)}.\n")
    return "\n".join(parts)


def with_example(docstring: str) -> str:
    """*docstring* with its example as a block of its own."""
    text, found, example = docstring.partition("Example:\n")
    return f"{text}Example:\n\n```yaml\n{textwrap.dedent(example).rstrip()}\n```" if found else docstring


def reads_of(kind: StepType) -> Mapping[str, TensorSpec | None] | None:
    """The columns that a step reads with its default parameters; None when it has to be told."""
    try:
        return kind.reads(**defaults_of(kind)) if callable(kind.reads) else kind.reads
    except Exception:  # a step's own code, without the parameters that it wants
        return None


def writes_of(kind: StepType) -> Mapping[str, TensorSpec | None] | None:
    """The columns that a step writes with its default parameters; None when it has to be told."""
    reads = reads_of(kind)
    try:
        writes = kind.writes(**defaults_of(kind)) if callable(kind.writes) else kind.writes
    except Exception:  # likewise
        return None
    try:
        return {**writes, **(kind.flow(reads, **defaults_of(kind)) if kind.flow else {})}
    except Exception:  # likewise; what it writes is known, only not of which type and shape
        return writes or None


def defaults_of(kind: StepType) -> dict[str, Any]:
    """The parameters of a step that need not be given."""
    parameters = kind.signature.parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not REQUIRED}


def columns_text(specs: Mapping[str, TensorSpec | None] | None) -> str:
    """Columns in words."""
    told = [f"`{name}` ({spec})" for name, spec in (specs or {}).items() if spec is not None]
    return ", ".join(told) or "what its parameters say"


def parameters_table(kind: StepType) -> str:
    """The parameters of a step as a table."""
    lines = ["| parameter | value | default |", "| --- | --- | --- |"]
    for name, parameter in kind.signature.parameters.items():
        default = "required" if parameter.default is REQUIRED else f"`{yaml(parameter.default)}`"
        lines.append(f"| `{name}` | {cell(shown(parameter.hint))} | {cell(default)} |")
    return "\n".join(lines) + "\n"


def yaml(value: Any) -> str:
    """A default as one would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(yaml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml(item)}" for key, item in value.items()) + "}"
    return str(value)


def command_line() -> str:
    """Every command with its help."""
    parts = [MARK + "# Command line\n\nExit codes: 0 done, 1 the work failed, 2 wrong usage or configuration.\n"]
    parts += [f"## {path}\n\n```text\n{text}\n```\n" for path, text in helps(headrace, "headrace")]
    return "\n".join(parts)


def helps(command: click.Command, path: str, above: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """The help of *command* and of those below it, each under its whole name."""
    settings = {**command.context_settings, "terminal_width": 100}
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=above, **settings)
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(below, f"{path} {name}", context)


def error_codes() -> str:
    """The codes, their status numbers and what they mean."""
    lines = [
        MARK
        + "# Error codes\n\nWhat went wrong, by meaning; [how errors work](../concepts/errors.md) is a page of its "
        "own. A retryable failure may pass by itself.\n",
        "| code | HTTP status | retryable | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for kind in error_kinds():
        retryable = "yes" if kind.retryable else "no"
        lines.append(f"| `{kind.code}` | {STATUS[kind.code]} | {retryable} | {meanings()[kind.code]} |")
    return "\n".join(lines) + "\n"


class Families:
    """Takes down what an engine would show to whoever scrapes it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def counter(self, name: str, help_text: str, labels: Sequence[str], read: object) -> None:
        """A counter; its name ends in `_total` on the wire."""
        self._add(f"{name}_total", "counter", help_text, labels)

    def gauge(self, name: str, help_text: str, labels: Sequence[str], read: object) -> None:
        """A gauge."""
        self._add(name, "gauge", help_text, labels)

    def histogram(self, name: str, help_text: str, labels: Sequence[str], read: object) -> None:
        """A histogram."""
        self._add(name, "histogram", help_text, labels)

    def _add(self, name: str, kind: str, help_text: str, labels: Sequence[str]) -> None:
        told = ", ".join(f"`{label}`" for label in labels)
        self.lines.append(f"| `{name}` | {kind} | {told} | {cell(help_text)} |")


def metrics() -> str:
    """What `/metrics` shows."""
    families = Families()
    measures = Measures(Prices({"cpu": 1.0}, "USD"))
    engine = Engine(measures=measures, hooks=Hooks({}))
    expose(families, engine, (), Answers(MemoryCache(1024), measures))
    for family in Crew().about_workers():
        getattr(families, family.kind)(family.name, family.help_text, family.labels, list)
    head = (
        MARK + "# Metrics\n\nWhat `GET /metrics` shows, in the text format of Prometheus; [what they mean]"
        "(../concepts/numbers-traces-and-logs.md) is a page\nof its own. A histogram `NAME` has the series "
        "`NAME_bucket`, `NAME_sum` and `NAME_count`. Times are seconds, sizes bytes or\nrows. With several workers the "
        "numbers are those of all of them together.\n"
    )
    columns = "| name | kind | labels | what it counts |"
    return "\n".join([head, columns, "| --- | --- | --- | --- |", *families.lines, ""])


def error_kinds() -> list[type[EngineError]]:
    """The kinds of error that have a code of their own, in the order of the file that defines them."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EngineError)]
    return [kind for kind in kinds if kind is not EngineError and "code" in vars(kind)]


def meanings() -> dict[str, str]:
    """The words beside each code in the tree at the top of the errors file."""
    found: dict[str, str] = {}
    for line in (inspect.getdoc(errors) or "").splitlines():
        words = line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
        if len(words) > 2 and words[1] in STATUS:
            found.setdefault(words[1], " ".join(words[2:]).replace("(retryable)", "").strip())
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
