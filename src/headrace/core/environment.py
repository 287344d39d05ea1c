"""What does ``${NAME}`` in a configuration file stand for?"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace.core.mistakes import did_you_mean

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<body>[^{}]*)(?P<close>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
# Words that no secret consists of; hiding them would make messages unreadable.
_PUBLIC = frozenset({"", "true", "false", "null", "none", "yes", "no", "on", "off", "auto"})


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its references replaced; *expanded* tells whether there were any."""

    text: str
    expanded: bool
    problem: str | None = None


class Environment:
    """Expands references, and keeps the values that it handed out from being shown."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._handed_out: dict[str, str] = {}

    def expand(self, text: str) -> Expansion:
        """Replace ``${NAME}`` and ``${NAME:-default}`` (for unset or empty) in *text*; ``$${`` is a plain ``${``."""
        if "${" not in text:
            return Expansion(text, False)
        pieces: list[str] = []
        end = 0
        expanded = False
        for match in _REFERENCE.finditer(text):
            pieces.append(text[end : match.start()])
            end = match.end()
            if match["body"] is None:
                pieces.append("${")
                continue
            value, problem = self._value(match)
            if problem is not None:
                return Expansion(text, True, problem)
            pieces.append(value)
            expanded = True
        return Expansion("".join([*pieces, text[end:]]), expanded)

    def _value(self, match: re.Match[str]) -> tuple[str, str | None]:
        body = _BODY.fullmatch(match["body"])
        if body is None or not match["close"]:
            return "", "found a broken reference, wanted ${NAME} or ${NAME:-default} ($${ stands for a plain ${)"
        name, default = body["name"], body["default"]
        value = self._values.get(name)
        if default is not None and not value:
            return default[2:], None
        if value is None:
            meant = did_you_mean(name, self._values)
            return "", f"{name} is not set{meant}: set it in the environment or .env, or write ${{{name}:-default}}"
        if value.lower() not in _PUBLIC:
            self._handed_out[value] = name
        return value, None

    def hide(self, message: str) -> str:
        """*message* with every value that came from the environment replaced by its reference."""
        if not self._handed_out:
            return message
        # Longest first, so that a value within another does not leave the rest of it behind. A short value
        # counts only as a word of its own: one letter would otherwise be found in any sentence.
        values = sorted(self._handed_out, key=len, reverse=True)
        patterns = (re.escape(v) if len(v) >= 4 else rf"(?<!\w){re.escape(v)}(?!\w)" for v in values)
        return re.sub("|".join(patterns), lambda found: f"${{{self._handed_out[found[0]]}}}", message)


def read_dotenv(text: str) -> Iterator[tuple[int, str, str | None] | int]:
    """The ``(line, name, value)`` of a ``.env`` file, and the bare number of each line that cannot be understood.

    Values are taken as they stand: nothing in them is expanded, so a secret may hold any character.
    """
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.error:
            yield line
        elif binding.key is not None:
            yield line, binding.key, binding.value
