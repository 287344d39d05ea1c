"""`headrace models`: what is declared here, and what a running server has loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import F, config_file, config_option, json_option
from headrace.adapters.cli.output import json_line, json_text, print_table
from headrace.adapters.cli.server import Server
from headrace.domain.errors import NotFound
from headrace.domain.parameters import nearest

if TYPE_CHECKING:
    from headrace.domain.ports import Declared
    from headrace.domain.spec import ModelSpec

DEFAULT_URL = "http://127.0.0.1:8000"
COLUMNS = ("name", "version", "state", "type", "device", "model", "path", "reason")
"""What a table shows of a model; a server tells some of it, the workspace the rest."""


@click.group(short_help="See models, and load, unload or reload them on a running server.")
def models() -> None:
    """See which models there are, and steer those of a running server.

    `list` and `show` read the workspace, or ask a server when --url names one. `load`, `unload` and `reload`
    always ask a server. A workspace's models are loaded when it is served; nothing has to be loaded by hand.
    """


def server_options(default: str | None) -> Callable[[F], F]:
    """Add ``--url`` and ``--token``; *default* is the address when none is named."""

    def add(command: F) -> F:
        told = f"  [default: {default}]" if default else "  Without it, the workspace is read."
        url = click.option("--url", default=default, help=f"Address of a running server.{told}")
        token = click.option("--token", help="Its token, if it demands one; @FILE reads it from a file.")
        return url(token(command))

    return add


def server_at(url: str, token: str | None) -> Server:
    """The server at *url*; a *token* ``@FILE`` is read from that file, where no list of processes shows it."""
    if token is not None and token.startswith("@"):
        token = Path(token[1:]).read_text().strip()
    return Server(url, token)


@models.command("list", short_help="List models, of the workspace or of a server.")
@server_options(None)
@config_option
@json_option
@click.pass_obj
def list_models(commands: Commands, url: str | None, token: str | None, config: Path | None, as_json: bool) -> None:
    """List the models of the workspace, or those that a server has.

    \b
    Examples:
      headrace models list
      headrace models list --url http://127.0.0.1:8000 --json
    """
    found = declared_models(commands.declared(config_file(config))) if url is None else _served(server_at(url, token))
    if as_json:
        click.echo(json_line(found))
    elif not found:
        click.echo("there are no models; declare one in config/models/NAME.yaml")
    else:
        headings = [key for key in COLUMNS if key in found[0]]
        print_table(headings, [[_cell(model.get(key)) for key in headings] for model in found])


@models.command("show", short_help="Show everything about one model.")
@click.argument("model", metavar="MODEL[@VERSION]")
@server_options(None)
@config_option
@json_option
@click.pass_obj
def show_model(
    commands: Commands, model: str, url: str | None, token: str | None, config: Path | None, as_json: bool
) -> None:
    """Show everything about one model: as it is declared, or as a server has loaded it.

    \b
    Examples:
      headrace models show digits-mlp
      headrace models show digits-mlp@1 --url http://127.0.0.1:8000
    """
    name, _, version = model.partition("@")
    if url is None:
        found = _described(commands.declared(config_file(config)), name, version)
    else:
        versions = f"/versions/{quote(version, safe='')}" if version else ""
        found = server_at(url, token).get(f"models/{quote(name, safe='')}{versions}")
    click.echo(json_line(found) if as_json else json_text(found))


def _steering(verb: str, what: str, short: str) -> click.Command:
    """The command that posts *verb* for one model to a running server."""

    @click.argument("model", metavar="MODEL[@VERSION]")
    @server_options(DEFAULT_URL)
    @json_option
    def steer(model: str, url: str, token: str | None, as_json: bool) -> None:
        name, _, version = model.partition("@")
        body = {"version": version} if version else {}
        answer = server_at(url, token).post(f"models/{quote(name, safe='')}/{verb}", body)
        click.echo(json_line(answer) if as_json else json_text(answer))

    steer.__doc__ = (
        f"{what}\n\n    \b\n    Examples:\n      headrace models {verb} digits-mlp\n"
        f"      headrace models {verb} digits-mlp@1 --url http://127.0.0.1:9000 --token @token.txt\n"
    )
    return click.command(verb, short_help=short)(steer)


for command in (
    _steering("load", "Load a model that is declared and not loaded.", "Load a declared model."),
    _steering("unload", "Take a model out of service once its requests are answered.", "Take a model out of service."),
    _steering(
        "reload",
        "Read a model's artefact and file again, warm it up, and swap it in without a gap.",
        "Read a model again and swap it in.",
    ),
):
    models.add_command(command)


def declared_models(declared: Declared) -> list[dict[str, Any]]:
    """A line for each declared model."""
    return [
        {
            "name": name,
            "version": version,
            "type": spec.type,
            "device": spec.device,
            "path": spec.path,
        }
        for (name, version), spec in sorted(declared.models.items())
    ]


def _described(declared: Declared, name: str, version: str) -> Mapping[str, Any]:
    found = {key[1]: spec for key, spec in declared.models.items() if key[0] == name}
    if not found:
        names = sorted({key[0] for key in declared.models})
        raise NotFound(f"no model {name!r} is declared{nearest(name, names)}; there are: {', '.join(names) or 'none'}")
    if version and version not in found:
        raise NotFound(f"model {name!r} has no version {version!r}; there are: {', '.join(found)}")
    chosen: Sequence[ModelSpec] = [found[version]] if version else list(found.values())
    shown = [_set_fields(spec) for spec in chosen]
    return shown[0] if len(shown) == 1 else {"name": name, "versions": shown}


def _set_fields(spec: ModelSpec) -> dict[str, Any]:
    """The fields of *spec* that say something."""
    return {key: value for key, value in dataclasses.asdict(spec).items() if value not in (None, "", {}, ())}


def _served(server: Server) -> list[dict[str, Any]]:
    answer = server.get("models")
    found: list[dict[str, Any]] = answer["models"] if isinstance(answer, dict) else answer
    return found


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
