"""Which database does ``state.url`` mean, and is its driver there?"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from headrace.core.config import Reader, did_you_mean
from headrace.core.constraints import SecretUrl

Kind = Literal["sqlite", "postgresql", "mysql"]

SCHEMES: Final[Mapping[str, Kind]] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_DRIVERS: Final[Mapping[Kind, str]] = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}
_WANTED: Final = "wanted one like sqlite:///data/headrace.db or postgresql://user:password@host/database"


class StateUrl(SecretUrl):
    """The URL of a database, whose password only `reveal` gives away."""

    __slots__ = ()

    @property
    def kind(self) -> Kind:
        """Which database it is; the URL must have no `problem`."""
        return SCHEMES[urlsplit(self._text).scheme]

    def file(self, root: Path) -> Path | None:
        """Where a SQLite database lies, in the workspace at *root* unless it says otherwise; None for a server."""
        return root / urlsplit(self._text).path[1:] if self.kind == "sqlite" else None

    def for_sqlalchemy(self, root: Path) -> str:
        """The same as SQLAlchemy takes it."""
        if (file := self.file(root)) is not None:
            return f"sqlite+aiosqlite:///{file}"
        rest = self._text.partition("://")[2]
        if self.kind == "postgresql":  # asyncpg calls it otherwise than everybody else
            rest = rest.replace("sslmode=", "ssl=", 1)
        return f"{self.kind}+{_DRIVERS[self.kind]}://{rest}"

    def problem(self) -> str | None:
        """What is wrong with it, without a word of it that could be a secret; None if nothing is."""
        scheme, _, rest = self._text.partition(":")
        if scheme not in SCHEMES or not rest.startswith("//"):
            meant = did_you_mean(scheme, SCHEMES) if rest.startswith("//") else ""
            return f"found no URL of a database{meant}, {_WANTED}"
        try:
            parts = urlsplit(self._text)
            _ = parts.port
        except ValueError:
            return f"found a URL whose host or port is none, {_WANTED}"
        return _incomplete(self.kind, parts) or _no_driver(self.kind)


def check_url(reader: Reader, section: Any, url: StateUrl) -> None:
    """Add to the mistakes of *reader* what is wrong with the *url* of the *section* ``state:``."""
    if (problem := url.problem()) is not None:
        reader.mistake(reader.place(section, "url"), problem, "state.url")


def _incomplete(kind: Kind, parts: SplitResult) -> str | None:
    if kind != "sqlite":
        complete = parts.hostname and len(parts.path) > 1
        return None if complete else "found no host or no database, wanted scheme://user:password@host/database"
    if parts.netloc:
        return "found two slashes, wanted three before a path in the workspace, as in sqlite:///data/headrace.db"
    if len(parts.path) <= 1 or parts.path.endswith("/"):
        return "found no file, wanted one, as in sqlite:///data/headrace.db"
    return None


def _no_driver(kind: Kind) -> str | None:
    if find_spec(_DRIVERS[kind]) is not None:
        return None
    extra = "" if kind == "sqlite" else f"[{kind}]"
    return f"found no driver for it, wanted the package {_DRIVERS[kind]}: install headrace{extra}"
