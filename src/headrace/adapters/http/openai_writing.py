"""One generated answer as it grows: pieces of text until the model ends, a stop text shows, or there is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.adapters.http.openai_columns import FINISH, PROMPT_TOKENS, TOKENS

REASONS: Final = ("stop", "length", "content_filter", "tool_calls")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an answer ends: *tokens* at most (None: no limit; *cut*: nobody else sees to it), or before a *stop*."""

    stops: Sequence[str] = ()
    tokens: int | None = None
    cut: bool = True


class Writing:
    """Follows one answer. *finish_reason*, *tokens* and *prompt_tokens* are true once `pieces` has ended.

    A chunk is one token unless the pipeline has an output ``tokens`` that says how many it holds.
    """

    def __init__(self, column: str, limits: Limits) -> None:
        self.finish_reason = "stop"
        self.tokens = 0
        self.prompt_tokens: int | None = None
        self._column = column
        self._limits = limits

    async def pieces(self, rows: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[str]:
        """The text of *rows*, without what could still turn out to be the beginning of a stop text."""
        held = Held(self._limits.stops)
        told: str | None = None
        async for row in rows:
            self._count(row)
            told = row.get(FINISH) or told
            if piece := held.feed(str(row[self._column])):
                yield piece
            if held.stopped:
                return
            if self._limits.cut and self._enough:
                break
        self.finish_reason = told if told in REASONS else "length" if self._enough else "stop"
        if rest := held.rest():
            yield rest

    @property
    def _enough(self) -> bool:
        return self._limits.tokens is not None and self.tokens >= self._limits.tokens

    def _count(self, row: Mapping[str, Any]) -> None:
        self.tokens += int(row[TOKENS]) if TOKENS in row else 1
        if PROMPT_TOKENS in row:
            self.prompt_tokens = int(row[PROMPT_TOKENS])


class Held:
    """Lets text through up to the first of *stops*; its end is held back while it could begin one of them."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = stops
        self._text = ""

    def feed(self, text: str) -> str:
        """What may be shown now that *text* has come."""
        if not self._stops:
            return text
        self._text += text
        found = [place for stop in self._stops if (place := self._text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._text[: min(found)]
        safe = len(self._text) - max(_beginning(self._text, stop) for stop in self._stops)
        shown, self._text = self._text[:safe], self._text[safe:]
        return shown

    def rest(self) -> str:
        """What was held back, once nothing more can come."""
        return self._text


def _beginning(text: str, stop: str) -> int:
    """How many characters at the end of *text* are the beginning of *stop*."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
