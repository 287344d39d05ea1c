"""Where are answers kept, said as a URL? One that may hold a password, and never shows it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlsplit

from headrace.core.config import Reader
from headrace.core.constraints import SecretUrl

MEMORY: Final = "memory:"
SCHEMES: Final = ("redis", "rediss", "unix")
WANTED: Final = "wanted memory:, redis://host:port/db, rediss:// (TLS) or unix:///path?db=0"


class CacheUrl(SecretUrl):
    """``memory:`` or the URL of a Redis server, whose password only `reveal` gives away."""

    __slots__ = ()

    @property
    def in_memory(self) -> bool:
        """Whether it stands for the memory of this process alone."""
        return self._text == MEMORY

    @property
    def shown(self) -> str:
        """The URL without user, password and parameters."""
        return MEMORY if self.in_memory else super().shown

    def problem(self) -> str | None:
        """What is wrong with it, without a word of it that could be a secret; None if nothing is."""
        if self.in_memory:
            return None
        scheme, _, rest = self._text.partition(":")
        if scheme not in SCHEMES or not rest.startswith("//"):
            near = get_close_matches(scheme, ["memory", *SCHEMES], 1)
            meant = f" (did you mean {near[0]}{':' if near[0] == 'memory' else '://'}?)" if near else ""
            return f"found no URL of a cache{meant}, {WANTED}"
        try:
            parts = urlsplit(self._text)
            port, host = parts.port, parts.hostname
        except ValueError:
            return f"found a URL whose port is no number, {WANTED}"
        if scheme != "unix" and not host:
            return f"found a URL without a host, {WANTED}"
        if scheme != "unix" and parts.path.strip("/") and not parts.path.strip("/").isdigit():
            return f"found a database that is no number, {WANTED}"
        return None if port is None or port > 0 else f"found the port 0, {WANTED}"


def check_url(reader: Reader, section: Any, url: CacheUrl) -> None:
    """Add to the mistakes of *reader* what is wrong with the *url* of the *section* ``cache:``."""
    if (problem := url.problem()) is not None:
        reader.mistake(reader.place(section, "url"), problem, "cache.url")
