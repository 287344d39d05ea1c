"""Is text cleaned, composed, split and shortened without ever cutting a character apart?"""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidInput
from headrace.domain.steps.text import clean, split, template, truncate

Apply = Callable[..., Batch]
ANY_TEXT = st.text(max_size=40)


@given(st.lists(ANY_TEXT, max_size=4))
def test_clean_text_is_clean_already_and_rows_do_not_touch(texts: list[str]) -> None:
    once = clean(texts, form="NFKC", lower=False)

    assert clean(once, form="NFKC") == once
    assert once == [clean([text], form="NFKC")[0] for text in texts]
    for text in once:
        assert text == text.strip()
        assert "  " not in text and "\x00" not in text


def test_each_kind_of_cleaning_can_be_left_out() -> None:
    text = ["A\u0301 \ufb01\u0007\t B"]

    assert clean(text) == ["Á \ufb01 B"]
    assert clean(text, form="NFKC", lower=True) == ["á fi b"]
    assert clean(text, form="none", whitespace=False, controls=False) == text
    assert clean(text, whitespace=False) == ["Á \ufb01\t B"]


def test_null_is_no_text() -> None:
    with pytest.raises(InvalidInput, match="a text is wanted, not null"):
        clean([None])  # type: ignore[list-item]


def test_a_template_takes_columns_of_any_kind_and_keeps_braces(apply: Apply) -> None:
    columns = {"name": ["Ada", "{x}"], "score": [0.5, 1]}

    after = apply("text.template", columns, {"template": "{{{name}}} {score} {name}", "into": "line"})

    assert after.columns["line"] == ["{Ada} 0.5 Ada", "{{x}} 1 {x}"]


@given(ANY_TEXT, ANY_TEXT)
def test_what_a_template_takes_in_is_never_read_as_a_template(first: str, second: str) -> None:
    assert template([first], [second], template="{a}|{b}") == [f"{first}|{second}"]


@given(ANY_TEXT, st.integers(1, 5))
def test_parts_put_together_are_the_text_again(text: str, limit: int) -> None:
    parts = split([text], separator="a", limit=limit)[0]

    assert "a".join(parts) == text
    assert len(parts) <= limit
    assert split([text]) == [text.split()]


@given(st.text(max_size=30), st.integers(2, 12))
def test_shortened_text_is_within_its_length_and_starts_like_the_text(text: str, length: int) -> None:
    characters = truncate([text], length=length, marker="..")[0]
    bounded = truncate([text], length=length, unit="bytes", marker="..")[0]

    assert len(characters) <= length
    assert len(bounded.encode()) <= length
    assert characters == text or text.startswith(characters.removesuffix(".."))
    assert bounded == text or text.startswith(bounded.removesuffix(".."))


def test_a_letter_keeps_its_accents() -> None:
    word = unicodedata.normalize("NFD", "cafés")

    assert truncate([word], length=4) == ["caf"]
    assert truncate([word], length=5) == ["cafe\u0301"]
    assert truncate(["日本語"], length=7, unit="bytes") == ["日本"]


def test_words_are_counted_and_never_cut() -> None:
    assert truncate(["one  two three", "one two "], length=2, unit="words", marker=" …") == ["one  two …", "one two "]
    assert truncate(["one two"], length=0, unit="words") == [""]


def test_impossible_parameters_are_found_before_anything_is_loaded(problems: Callable[..., list[str]]) -> None:
    assert "at least one column" in problems("text.template", {"template": "hello"})[0]
    assert "plain column names" in problems("text.template", {"template": "{a.__class__}"})[0]
    assert "plain column names" in problems("text.template", {"template": "{}"})[0]
    assert "cannot read the template" in problems("text.template", {"template": "{a"})[0]
    assert "marker's, 3" in problems("text.truncate", {"length": 2, "marker": "..."})[0]
    assert "separator of at least one" in problems("text.split", {"separator": ""})[0]
