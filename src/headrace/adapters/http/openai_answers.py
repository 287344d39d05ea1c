"""What do completions look like, whole and in chunks?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One finished answer."""

    index: int
    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in and out, of all choices."""

    prompt: int = 0
    completion: int = 0

    def told(self) -> Body:
        """As it stands in a body."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(frozen=True, slots=True)
class Completion:
    """The bodies of one answer to ``POST /v1/completions``.

    *digest* is that of the pipeline that answers; *counted* says that chunks speak of usage (null but in the last).
    """

    prefix: ClassVar[str] = "cmpl"
    whole_object: ClassVar[str] = "text_completion"
    chunk_object: ClassVar[str] = "text_completion"

    request_id: str
    model: str
    digest: str = ""
    counted: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], usage: Usage) -> Body:
        """All of it."""
        told = [
            {**self._said(choice.text), "index": choice.index, "logprobs": None, "finish_reason": choice.finish_reason}
            for choice in choices
        ]
        return {**self._head(self.whole_object), "choices": told, "usage": usage.told()}

    def opening(self, index: int) -> Body | None:
        """The chunk that comes before the text, if there is one."""
        return None

    def piece(self, index: int, text: str) -> Body:
        """A chunk of text."""
        return self._chunk(index, {"text": text}, None)

    def ending(self, index: int, finish_reason: str) -> Body:
        """The chunk that ends a choice."""
        return self._chunk(index, {"text": ""}, finish_reason)

    def totals(self, usage: Usage) -> Body:
        """The last chunk, for those who asked for it."""
        return {**self._head(self.chunk_object), "choices": [], "usage": usage.told()}

    def _said(self, text: str) -> Body:
        return {"text": text}

    def _chunk(self, index: int, said: Body, finish_reason: str | None) -> Body:
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._head(self.chunk_object), "choices": [choice]}
        return {**chunk, "usage": None} if self.counted else chunk

    def _head(self, kind: str) -> Body:
        head = {
            "id": f"{self.prefix}-{self.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }
        return {**head, "system_fingerprint": f"fp_{self.digest[:12]}"} if self.digest else head


@dataclass(frozen=True, slots=True)
class ChatCompletion(Completion):
    """The bodies of one answer to ``POST /v1/chat/completions``."""

    prefix: ClassVar[str] = "chatcmpl"
    whole_object: ClassVar[str] = "chat.completion"
    chunk_object: ClassVar[str] = "chat.completion.chunk"

    def opening(self, index: int) -> Body | None:
        """The chunk that says who speaks."""
        return self._chunk(index, {"delta": {"role": "assistant", "content": "", "refusal": None}}, None)

    def piece(self, index: int, text: str) -> Body:
        """A chunk of text."""
        return self._chunk(index, {"delta": {"content": text}}, None)

    def ending(self, index: int, finish_reason: str) -> Body:
        """The chunk that ends a choice."""
        return self._chunk(index, {"delta": {}}, finish_reason)

    def _said(self, text: str) -> Body:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}
