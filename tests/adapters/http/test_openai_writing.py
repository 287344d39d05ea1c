"""Does an answer end where it should, without a stop text ever showing?"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.http.openai_chat import joined
from headrace.adapters.http.openai_writing import Held, Limits, Writing
from headrace.domain.errors import InvalidRequest

LETTERS = st.text("abc", max_size=12)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_however_the_text_is_cut_it_ends_before_the_first_stop_text(chunks: list[str], stops: list[str]) -> None:
    held = Held(stops)
    shown = ""
    for chunk in chunks:
        shown += held.feed(chunk)
        if held.stopped:
            break
    shown += "" if held.stopped else held.rest()

    whole = "".join(chunks)
    places = [place for stop in stops if (place := whole.find(stop)) >= 0]
    assert held.stopped == bool(places)
    if not places:
        assert shown == whole
    else:  # a stop text that ends later may begin earlier; the one that is complete first counts
        assert whole.startswith(shown)
        assert all(stop not in shown for stop in stops)


async def rows(*chunks: Any) -> AsyncIterator[dict[str, Any]]:
    for chunk in chunks:
        yield chunk if isinstance(chunk, dict) else {"text": chunk}


async def written(limits: Limits, *chunks: Any) -> tuple[str, str, int]:
    writing = Writing("text", limits)
    text = "".join([piece async for piece in writing.pieces(rows(*chunks))])
    return text, writing.finish_reason, writing.tokens


@pytest.mark.parametrize(
    ("limits", "chunks", "expected"),
    [
        (Limits(), ["a", " b"], ("a b", "stop", 2)),
        (Limits(), [], ("", "stop", 0)),
        (Limits(tokens=2), ["a", "b", "c"], ("ab", "length", 2)),
        (Limits(tokens=2, cut=False), ["a", "b", "c"], ("abc", "length", 3)),
        (Limits(["X"]), ["a", "bXc", "d"], ("ab", "stop", 2)),
        (Limits(["XY"]), ["aX", "b", "X"], ("aXbX", "stop", 3)),
        (Limits(["XY"], 2), ["aX", "Yb"], ("a", "stop", 2)),
        (Limits(), [{"text": "a", "tokens": 3}, {"text": "b", "tokens": 2}], ("ab", "stop", 5)),
        (Limits(), [{"text": "a", "finish_reason": ""}, {"text": "b", "finish_reason": "length"}], ("ab", "length", 2)),
        (Limits(), [{"text": "a", "finish_reason": "tired"}], ("a", "stop", 1)),
    ],
)
async def test_the_end_and_its_reason(limits: Limits, chunks: list[Any], expected: tuple[str, str, int]) -> None:
    assert await written(limits, *chunks) == expected


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"role": "user", "content": "Hi"}], "Hi"),
        ([{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}], "Hi"),
        ([{"role": "system", "content": "Be kind."}], "system: Be kind.\nassistant:"),
        (
            [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}],
            "user: 1\nassistant: 2\nuser: 3\nassistant:",
        ),
    ],
)
def test_a_conversation_is_joined_as_the_page_says(messages: list[Any], text: str) -> None:
    assert joined(messages) == text


@pytest.mark.parametrize("content", [None, [{"type": "image_url", "image_url": {"url": "x"}}], ["Hi"]])
def test_what_is_no_text_is_not_joined(content: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[0\].*no text"):
        joined([{"role": "user", "content": content}])
