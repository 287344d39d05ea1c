"""Does the main file still say what this server runs with? Its settings hold until the next start, and that is said."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from headrace.assembly import load_settings
from headrace.core.logging import logger
from headrace.domain.errors import InvalidConfig
from headrace.settings import Settings

log = logger("headrace")


class MainFile:
    """The main file of a server that runs."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._said = self._in_force = self._read()

    def tell_changes(self) -> None:
        """Log which sections have changed since the start, once for each time that the file says something else."""
        now = self._read()
        if now == self._said:
            return
        self._said = now
        if isinstance(now, str):
            log.error("the main file cannot be read; the settings stay as they were", mistakes=now)
        elif changed := [one.name for one in fields(Settings) if self._differs(one.name, now)]:
            log.warning("settings of the main file changed; they take effect at the next start", sections=changed)

    def _differs(self, section: str, now: Settings) -> bool:
        before = self._in_force
        return isinstance(before, str) or getattr(before, section) != getattr(now, section)

    def _read(self) -> Settings | str:
        """What the file says, or what is wrong with it."""
        try:
            return load_settings(self._config)[0]
        except InvalidConfig as error:
            return error.message
