"""What is wrong in a configuration, where, and what was probably meant?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; line 0 is the file as a whole."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct; *key* is dotted, as in ``preprocessing[1].params``."""

    file: Path | str
    line: int
    message: str
    key: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigMistakes(Exception):
    """A configuration cannot be used; `mistakes` holds all that is wrong with it, once each, by place."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        once = dict.fromkeys(mistakes)
        self.mistakes = tuple(sorted(once, key=lambda mistake: (str(mistake.file), mistake.line, mistake.key)))
        super().__init__("\n".join(map(str, self.mistakes)))


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that *word* was probably meant to be; case and dashes do not count. None if nothing is close."""
    spellings = {_folded(candidate): candidate for candidate in candidates}
    wanted = _folded(word[:80])  # comparing is quadratic, and nobody means a name by a page of text
    # In three letters one slip is a third of the word, so short words need a lower bar.
    cutoff = 0.6 if len(wanted) > 3 else 0.5
    close = difflib.get_close_matches(wanted, spellings, n=1, cutoff=cutoff)
    return spellings[close[0]] if close else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`` (did you mean 'max_size'?)``, or nothing when no candidate is close."""
    meant = nearest(word, candidates)
    return "" if meant is None else f" (did you mean {meant!r}?)"


def _folded(word: str) -> str:
    return word.casefold().replace("-", "_")
