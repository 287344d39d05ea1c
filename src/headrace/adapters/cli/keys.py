"""`headrace keys`: who may call a server that asks for a token, each under a name."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from headrace.adapters.cli import interruption
from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import config_file, config_option, json_option
from headrace.adapters.cli.output import json_line, print_table

if TYPE_CHECKING:
    from headrace.domain.ports import StoredKey
    from headrace.services.access import Access

T = TypeVar("T")

HEADINGS: Final = ("name", "id", "roles", "state", "created", "expires")
UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0, "y": 365 * 86_400.0}
_SPAN: Final = re.compile(r"([0-9]{1,6})([a-z])")


class Span(click.ParamType[float]):
    """A time such as ``30d``, as seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of at least one."""
        found = _SPAN.fullmatch(str(value))
        if found is None or found[2] not in UNITS or int(found[1]) == 0:
            self.fail(f"wanted a number and a unit of {', '.join(UNITS)}, such as 12h, 30d or 1y, not {value!r:.40}")
        return int(found[1]) * UNITS[found[2]]


@click.group(short_help="Create, list and revoke the keys that callers show.")
def keys() -> None:
    """Create, list and revoke the keys that callers show, each under a name of its own.

    A server that demands a token accepts a key in its place, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    These commands work on the state database of the workspace. A running server need not be told: within a second
    it, and each of its workers, accepts what was created and refuses what was revoked.
    """


@keys.command("create", short_help="Make a key, and show it once.")
@click.argument("name")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of this caller; may be repeated.")
@click.option("--expires", type=Span(), metavar="TIME", help="How long it holds: 12h, 30d, 1y.  [default: no end]")
@config_option
@json_option
@click.pass_obj
def create_key(
    commands: Commands, name: str, roles: Sequence[str], expires: float | None, config: Path | None, as_json: bool
) -> None:
    """Make a key for the caller NAME, and print it. It is shown this once: only a digest of it is kept.

    The key alone goes to the standard output, and what is said about it does not. Roles are kept and listed; this
    version lets every key do everything.

    \b
    Examples:
      headrace keys create shop
      headrace keys create nightly-job --role infer --expires 30d > key.txt
    """

    async def create(access: Access) -> tuple[StoredKey, str]:
        made = await access.create(name, roles, lifetime_s=expires, by=_person())
        return made.stored, made.shown.reveal()

    (key, shown), asked = _run(commands, config, create)
    if as_json:
        click.echo(json_line({**_data(key, "active"), "key": shown}))
    else:
        click.echo(shown)
        until = "until it is revoked" if key.expires_at is None else f"until {_date(key.expires_at)}"
        click.echo(f"the key {name!r} holds {until}; keep it now, it cannot be shown again", err=True)
    if not asked:
        click.echo("note: as configured, the server asks for no key; `auth: {mode: token}` makes it ask", err=True)


@keys.command("list", short_help="List the keys, without their secrets.")
@config_option
@json_option
@click.pass_obj
def list_keys(commands: Commands, config: Path | None, as_json: bool) -> None:
    """List the keys: who has one, since when, and whether it holds. Secrets are not shown; nobody knows them.

    \b
    Examples:
      headrace keys list
      headrace keys list --json
    """

    async def every(access: Access) -> list[tuple[StoredKey, str]]:
        return [(key, _state(access, key)) for key in await access.all()]

    found, _ = _run(commands, config, every)
    if as_json:
        click.echo(json_line([_data(key, state) for key, state in found]))
    elif not found:
        click.echo("there are no keys; `headrace keys create NAME` makes one")
    else:
        print_table(
            ["name", "id", "roles", "state", "created", "expires"], [_cells(key, state) for key, state in found]
        )


@keys.command("revoke", short_help="Let a key hold no more.")
@click.argument("name")
@config_option
@json_option
@click.pass_obj
def revoke_key(commands: Commands, name: str, config: Path | None, as_json: bool) -> None:
    """Let the key of NAME hold no more: running servers refuse it within a second. There is no way back.

    \b
    Examples:
      headrace keys revoke nightly-job
    """
    key, _ = _run(commands, config, lambda access: access.revoke(name, _person()))
    if as_json:
        click.echo(json_line(_data(key, "revoked")))
    else:
        click.echo(f"the key {name!r} does not hold any more, since {_date(key.revoked_at)}")


def _run(commands: Commands, config: Path | None, work: Callable[[Access], Awaitable[T]]) -> tuple[T, bool]:
    """What *work* returns, and whether the server asks for a key as it is configured."""

    async def run() -> tuple[T, bool]:
        async with commands.open_access(config_file(config)) as (access, asked):
            return await work(access), asked

    return interruption.run(run())


def _person() -> str:
    """Who types this, for the audit."""
    try:
        return f"cli {getpass.getuser()}"
    except (KeyError, OSError):  # a container whose user has no name
        return f"cli {os.getuid()}"


def _state(access: Access, key: StoredKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "active" if access.holds(key) else "expired"


def _data(key: StoredKey, state: str) -> dict[str, Any]:
    return {
        "name": key.name,
        "id": key.id,
        "roles": list(key.roles),
        "state": state,
        "created_at": _time(key.created_at),
        "created_by": key.created_by,
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
    }


def _cells(key: StoredKey, state: str) -> list[str]:
    return [key.name, key.id, ", ".join(key.roles), state, _date(key.created_at), _date(key.expires_at)]


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _date(at: float | None) -> str:
    return "" if at is None else f"{_time(at):%Y-%m-%d %H:%M:%S} UTC"
