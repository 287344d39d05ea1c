"""`headrace routes`: how names become versions on a running server, and changing that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import yaml

from headrace.adapters.cli.models import DEFAULT_URL, server_at, server_options
from headrace.adapters.cli.options import json_option
from headrace.adapters.cli.output import json_line, json_text, print_table

FIELDS: Final = ("default", "aliases", "split", "sticky", "match", "shadow")


@click.group(short_help="See routes, and set or reset them on a running server.")
def routes() -> None:
    """See how names become versions on a running server, and change that.

    What is set is kept, also over a restart, and wins over config/routes/NAME.yaml until it is reset.
    """


@routes.command("show", short_help="Show one route, or all.")
@click.argument("name", required=False)
@server_options(DEFAULT_URL)
@json_option
def show_routes(name: str | None, url: str, token: str | None, as_json: bool) -> None:
    """Show how NAME becomes a version; without NAME, list all routes.

    \b
    Examples:
      headrace routes show
      headrace routes show digits --json
    """
    server = server_at(url, token)
    if name is not None:
        _print(server.get(_path(name)), as_json)
        return
    found = server.get("routes")["routes"]
    if as_json:
        click.echo(json_line(found))
    elif not found:
        click.echo("there are no routes; a bare name goes to its only version")
    else:
        print_table(["name", "source", "route"], [[one["name"], one["source"], _said(one["route"])] for one in found])


@routes.command("set", short_help="Route a name otherwise, until it is reset.")
@click.argument("name")
@click.option("--default", "default", metavar="VERSION", help="Where the bare name goes: a version or an alias.")
@click.option("--alias", "aliases", multiple=True, metavar="ALIAS=VERSION", help="A name for a version.")
@click.option("--split", "split", multiple=True, metavar="VERSION=WEIGHT", help="A share of the requests; all anew.")
@click.option("--sticky", metavar="INPUT", help="The input whose value keeps to one side of the split.")
@click.option("--shadow", metavar="VERSION", help="A version that gets a copy of the traffic.")
@click.option("--clear", "cleared", multiple=True, type=click.Choice(FIELDS), help="Take this out of the route.")
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="The whole route, as YAML.")
@server_options(DEFAULT_URL)
@json_option
def set_route(
    name: str,
    default: str | None,
    aliases: Sequence[str],
    split: Sequence[str],
    sticky: str | None,
    shadow: str | None,
    cleared: Sequence[str],
    file: Path | None,
    url: str,
    token: str | None,
    as_json: bool,
) -> None:
    """Route NAME otherwise. What no option names stays as it is; --file replaces the whole route first.

    \b
    Examples:
      headrace routes set digits --default 2
      headrace routes set digits --alias canary=2 --split 1=90 --split canary=10
      headrace routes set digits --clear split --clear sticky
    """
    named = {"default": default, "sticky": sticky, "shadow": shadow, "split": _pairs("--split", split)}
    added = _pairs("--alias", aliases)
    server = server_at(url, token)
    route = _read(file) if file is not None else server.get(_path(name))["route"] or {}
    route = {key: value for key, value in route.items() if key not in cleared}
    route |= {key: value for key, value in named.items() if value}
    if added:
        route["aliases"] = {**(route.get("aliases") or {}), **added}
    _print(server.put(_path(name), route), as_json)


@routes.command("reset", short_help="Forget what was set: the file counts again.")
@click.argument("name")
@server_options(DEFAULT_URL)
@json_option
def reset_route(name: str, url: str, token: str | None, as_json: bool) -> None:
    """Forget what was set for NAME: config/routes/NAME.yaml counts again.

    \b
    Examples:
      headrace routes reset digits
    """
    _print(server_at(url, token).delete(_path(name)), as_json)


def _path(name: str) -> str:
    return f"routes/{quote(name, safe='')}"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{file} holds no route; wanted are keys like `default` and `aliases`")
    return found


def _pairs(option: str, given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a mapping; weights are numbers."""
    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise click.UsageError(f"{option} wants NAME=VALUE, not {text!r}")
        found[name] = _weight(value) if option == "--split" else value
    return found


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"--split wants a number after the =, not {text!r}") from None


def _said(route: Mapping[str, Any]) -> str:
    """What a route says, in one line."""
    return json_line({key: value for key, value in route.items() if value})


def _print(answer: Any, as_json: bool) -> None:
    click.echo(json_line(answer) if as_json else json_text(answer))
