"""What can a setting's type say beyond Python's own: a range, a choice, a pattern, a secret?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit


class Secret:
    """A text that is never shown; only `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


class SecretUrl(Secret):
    """A URL that may hold a password, and is shown without."""

    __slots__ = ()

    @property
    def shown(self) -> str:
        """The URL without user, password and parameters."""
        parts = urlsplit(self._text)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def __repr__(self) -> str:
        return repr(self.shown)


class Constraint(Protocol):
    """What ``Annotated[type, constraint]`` demands beyond the type; `str` completes "wanted an integer ..."."""

    def accepts(self, value: Any) -> bool:
        """Whether *value*, which has the right type already, is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class Between:
    """A number from *min* to *max*, both included; None leaves that side open. Other values are not its business."""

    min: float | None = None
    max: float | None = None

    def accepts(self, value: Any) -> bool:
        """Whether *value* is in the range; NaN is in none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        if value != value:  # noqa: PLR0124  NaN compares with nothing
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.max is None:
            return f"of at least {self.min}"
        return f"of at most {self.max}" if self.min is None else f"from {self.min} to {self.max}"


@dataclass(frozen=True, slots=True, init=False)
class OneOf:
    """One of some values that are known only at run time; `Literal` says the same of fixed ones."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    def accepts(self, value: Any) -> bool:
        """Whether *value* is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return f"({listed(self.values)})"


@dataclass(frozen=True, slots=True)
class Matches:
    """A text that matches *pattern* as a whole; *words* say it for people, as in "of letters and digits"."""

    pattern: str
    words: str

    def accepts(self, value: Any) -> bool:
        """Whether *value* matches; what is not a text is not its business."""
        return not isinstance(value, str) or re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


def listed(values: tuple[Any, ...]) -> str:
    """``'a', 'b' or null``."""
    shown = [repr(value) if isinstance(value, str) else _written(value) for value in values]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower()
