"""`headrace init`: a workspace to start from, a small one or a copy of an example."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from headrace.domain.parameters import nearest

PACKAGE = Path(__file__).parents[2]
IGNORED = """\
.env
data/
*.log
__pycache__/
"""


@click.command(short_help="Make a workspace: config/, models/, steps/.")
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--example", metavar="NAME", default="hello", show_default=True, help="What to start from.")
def init(directory: Path, example: str) -> None:
    """Make a workspace in DIR (default: this folder), which must be empty or not exist yet.

    Without --example it holds one pipeline that needs no weights, to be changed into your own. --example digits
    copies a whole application with a trained model; an unknown NAME lists the examples there are.

    \b
    Examples:
      headrace init shop
      headrace init shop --example digits
    """
    source = example_folder(example)
    _require_empty(directory)
    shutil.copytree(source, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (directory / ".gitignore").write_text(IGNORED)
    for folder in ("models", "steps"):
        (directory / folder).mkdir(exist_ok=True)
    click.echo(next_steps(directory))


def example_folder(name: str) -> Path:
    """The folder of the example *name*; raises a usage error that lists those there are."""
    folder = examples_folder()
    names = sorted(path.parent.parent.name for path in folder.glob("*/config/main.yaml"))
    if name in names:
        return folder / name
    raise click.BadParameter(
        f"there is no example {name!r}{nearest(name, names)}; there are: {', '.join(names) or 'none'}",
        param_hint="--example",
    )


def examples_folder() -> Path:
    """Where the examples are: inside the installed package, or beside `src/` in a checkout."""
    installed = PACKAGE / "examples"
    return installed if installed.is_dir() else PACKAGE.parents[1] / "examples"


def _require_empty(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise click.UsageError(f"{directory} is a file; name a folder")
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    there = [name for name in names if not name.startswith(".") or name in (".gitignore", ".env")]
    if there:
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        raise click.UsageError(
            f"{directory} is not empty: it holds {', '.join(there[:3])}{more}. Name another folder, or empty this one"
        )


def next_steps(directory: Path) -> str:
    """What to type now."""
    here = directory.resolve() == Path.cwd()
    go = "" if here else f"  cd {directory}\n"
    return (
        f"made a workspace in {directory}\n\n{go}"
        "  headrace check --load    # is the configuration right, do the models answer?\n"
        "  headrace serve           # http://127.0.0.1:8000, with forms to try it under /docs\n\n"
        "README.md in it shows how to ask it."
    )
