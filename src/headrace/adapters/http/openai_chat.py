"""How does a conversation become the input of a pipeline? As it is, or joined into one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.adapters.http.openai_columns import MESSAGES, no_text, text_input
from headrace.adapters.http.openai_requests import refused
from headrace.domain.errors import InvalidRequest
from headrace.domain.pipeline import Pipeline


def chat_row(pipeline: Pipeline, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """*messages* for the input ``messages`` where *pipeline* has it, else as one text. Raises InvalidRequest."""
    _check(messages)
    if MESSAGES in pipeline.inputs:
        return {MESSAGES: list(messages)}
    name = text_input(pipeline)
    if name is None:
        raise no_text(pipeline, MESSAGES)
    return {name: joined(messages)}


def joined(messages: Sequence[Mapping[str, Any]]) -> str:
    """A conversation as text: one message of a user as it is, else ``role: content`` lines and ``assistant:``."""
    texts = [_text_of(message, place) for place, message in enumerate(messages)]
    if len(messages) == 1 and messages[0]["role"] == "user":
        return texts[0]
    lines = [f"{message['role']}: {text}" for message, text in zip(messages, texts, strict=True)]
    return "\n".join([*lines, "assistant:"])


def words_said(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many words stand in the texts of *messages*."""
    return sum(len(text.split()) for message in messages for text in _texts(message))


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise refused(MESSAGES, "messages: the list is empty; at least one message is wanted")
    for place, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise refused(MESSAGES, f"messages[{place}] lacks a role, such as user, assistant or system")
        if not isinstance(message.get("content"), str | list | None):
            raise refused(MESSAGES, f"messages[{place}].content wants a text, or a list of parts")


def _text_of(message: Mapping[str, Any], place: int) -> str:
    content = message.get("content")
    if content is None:
        raise _no_words(place, "has no content")
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
                kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
                raise _no_words(place, f"has a part of type {kind!r:.40}")
    return "".join(_texts(message))


def _no_words(place: int, found: str) -> InvalidRequest:
    return refused(
        MESSAGES, f"messages[{place}] {found}, which is no text; only a pipeline with an input `messages` takes it"
    )


def _texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
