"""Which verbs does `headrace` have, and how does a failure reach the person who typed one?"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from headrace import __version__
from headrace.adapters.cli.batch import batch
from headrace.adapters.cli.check import check
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.init import init
from headrace.adapters.cli.interruption import INTERRUPTED
from headrace.adapters.cli.keys import keys
from headrace.adapters.cli.models import models
from headrace.adapters.cli.output import counted
from headrace.adapters.cli.predict import predict
from headrace.adapters.cli.routes import routes
from headrace.adapters.cli.serve import serve
from headrace.adapters.cli.verify import verify
from headrace.domain.errors import EngineError, InvalidConfig, InvalidRequest, NotFound
from headrace.domain.parameters import nearest

FAILED, MISUSED = 1, 2
MISUSES = (InvalidConfig, InvalidRequest, NotFound)
"""Errors that the person at the keyboard can mend by typing or writing something else."""


class Verbs(click.Group):
    """A group that lists its verbs in the order of their use and answers a misspelt one with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, but for the message."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            ctx.fail(f"no command {args[0]!r}{nearest(args[0], names)}; there are: {', '.join(names)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="headrace", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the Python traceback of a failure.")
@click.pass_context
def headrace(ctx: click.Context, debug: bool) -> None:
    """Serve trained models: one pipeline definition, written in YAML.

    \b
    Start here:
      headrace init shop --example digits
      cd shop
      headrace serve

    Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration, 130 stopped by Ctrl-C.
    """
    ctx.meta["debug"] = debug


for command in (init, serve, predict, batch, check, verify, models, routes, keys):
    headrace.add_command(command)


def main(commands: Commands, arguments: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` when None) and return its exit code; prints failures, raises none."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = headrace.main(args=given, prog_name="headrace", standalone_mode=False, obj=commands)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # `headrace ... | head`
        sys.stderr.close()
        return FAILED
    except Exception as error:
        if "--debug" in given:
            traceback.print_exc()
        return complain(error)
    return code if isinstance(code, int) else 0


def complain(error: Exception) -> int:
    """Tell on stderr what went wrong, and return the exit code for it."""
    if isinstance(error, click.ClickException):
        click.echo(f"error: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"see: {error.ctx.command_path} --help", err=True)
        return error.exit_code
    if isinstance(error, EngineError):
        if mistakes := (error.details or {}).get("mistakes"):
            click.echo(error.message, err=True)
            click.echo(f"error: {counted(len(mistakes), 'mistake')} in the configuration", err=True)
        else:
            click.echo(f"error: {error.message}", err=True)
        return MISUSED if isinstance(error, MISUSES) else FAILED
    if isinstance(error, OSError):
        click.echo(f"error: {error}", err=True)
        return FAILED
    click.echo(f"error: a fault of Headrace itself: {type(error).__name__}: {error}", err=True)
    click.echo("see the traceback with: headrace --debug ...", err=True)
    return FAILED
