"""Steps that clean, compose, split and shorten text."""

from __future__ import annotations

import re
import unicodedata
from string import Formatter
from typing import Any, Final, Literal

import numpy as np

from headrace.domain.errors import InvalidInput
from headrace.domain.step import Specs, step
from headrace.domain.tensors import ANYTHING, TEXT, TensorSpec

Form = Literal["NFC", "NFD", "NFKC", "NFKD", "none"]
CONTROLS: Final = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0), 0xFEFF} - set(map(ord, "\t\n\v\f\r\x85")))
SPACES: Final = re.compile(r"\s+")


@step(reads={"text": TEXT}, writes={"text": TEXT}, flexible=True, pure=True)
def clean(
    text: list[str], *, form: Form = "NFC", lower: bool = False, whitespace: bool = True, controls: bool = True
) -> list[str]:
    """Bring text into one spelling: Unicode form, white space, control characters, case.

    Reads and writes `text` (string). *form* is the Unicode normal form (`NFKC` also turns ligatures and full-width
    letters into plain ones), `whitespace` makes every run of white space one space and trims the ends, `controls`
    removes control characters and byte-order marks, `lower` makes everything lower case.

    Example:
        in: {text: ["  Good\\tnews,\\n\\neveryone! "]}
        params: {lower: true}
        out: {text: ["good news, everyone!"]}
    """

    def one(value: str) -> str:
        value = _string(value) if form == "none" else unicodedata.normalize(form, _string(value))
        value = value.translate(CONTROLS) if controls else value
        value = SPACES.sub(" ", value).strip() if whitespace else value
        return value.lower() if lower else value

    return [one(value) for value in text]


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"a text is wanted, not {'null' if value is None else f'a {type(value).__name__}'}")
    return value


def _fields(template: str) -> tuple[str, ...]:
    """The column names between braces. Raises ValueError for a template that cannot be filled."""
    names: dict[str, None] = {}
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"cannot read the template {template!r}: {error}; write {{{{ for a brace") from None
    for _, name, layout, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or layout or conversion:
            raise ValueError(f"wants plain column names between braces in its template, not {{{name}}}")
        names[name] = None
    if not names:
        raise ValueError(f"wants at least one column in its template, as {{name}}; found {template!r}")
    return tuple(names)


def _template_reads(*, template: str, into: str = "text") -> Specs:
    try:
        return dict.fromkeys(_fields(template), ANYTHING)
    except ValueError:
        return {}  # `flow` says what is wrong with it


def _template_writes(*, template: str, into: str = "text") -> Specs:
    return {into: TEXT}


def _filled_in(reads: Specs, *, template: str, into: str = "text") -> Specs:
    _fields(template)
    return {into: TEXT}


@step(reads=_template_reads, writes=_template_writes, flow=_filled_in, pure=True)
def template(*columns: Any, template: str, into: str = "text") -> list[str]:
    """Put the values of columns into a text.

    Reads the columns that *template* names between braces (of any kind) and writes the column *into* (string).
    `{{` and `}}` stand for braces. Numbers are written as Python writes them.

    Example:
        in: {title: [Dune], year: [1965]}
        params: {template: "{title}, first printed in {year}"}
        out: {text: ["Dune, first printed in 1965"]}
    """
    names = _fields(template)
    rows = zip(*columns, strict=True)
    return [template.format(**dict(zip(names, map(_plain, row), strict=True))) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _split_spec(reads: Specs, *, separator: str | None = None, limit: int | None = None) -> Specs:
    if separator == "":
        raise ValueError("wants a separator of at least one character")
    if limit is not None and limit < 1:
        raise ValueError(f"wants a limit of at least 1, not {limit}")
    return {"parts": TensorSpec("any", (-1, -1))}


@step(reads={"text": TEXT}, writes=["parts"], flow=_split_spec, flexible=True, pure=True)
def split(text: list[str], *, separator: str | None = None, limit: int | None = None) -> list[list[str]]:
    """Cut text into a list of parts.

    Reads `text` (string) and writes `parts` (a list of strings for each row). *separator* is any string; without it
    the text is cut at white space, and no part is empty. After *limit* parts, the last one holds the rest.

    Example:
        in: {text: ["red;green;blue"]}
        params: {separator: ";", limit: 2}
        out: {parts: [[red, "green;blue"]]}
    """
    cuts = -1 if limit is None else limit - 1
    return [_string(value).split(separator, cuts) for value in text]


Unit = Literal["characters", "words", "bytes"]


def _shortened(reads: Specs, *, length: int, unit: Unit = "characters", marker: str = "") -> Specs:
    if length < _measure(marker, unit) or length < 0:
        raise ValueError(f"wants a length of at least its marker's, {_measure(marker, unit)}, not {length}")
    return {"text": TEXT}


def _measure(value: str, unit: Unit) -> int:
    if unit == "words":
        return 0  # the marker ends the last word
    return len(value) if unit == "characters" else len(value.encode())


@step(reads={"text": TEXT}, flow=_shortened, flexible=True, pure=True)
def truncate(text: list[str], *, length: int, unit: Unit = "characters", marker: str = "") -> list[str]:
    """Shorten text that is longer than *length* characters, words or bytes of UTF-8.

    Reads and writes `text` (string). What was shortened ends in *marker*, which counts as part of the length (but
    not as a word). A character is never cut apart, and neither is a letter from its accents; shorter text stays as
    it is, to the last space.

    Example:
        in: {text: [immeasurable, short]}
        params: {length: 8, marker: "..."}
        out: {text: [immea..., short]}
    """
    cut = {"characters": _cut_characters, "words": _cut_words, "bytes": _cut_bytes}[unit]
    return [cut(_string(value), length, marker) for value in text]


def _cut_characters(value: str, length: int, marker: str) -> str:
    if len(value) <= length:
        return value
    end = length - len(marker)
    while end > 0 and unicodedata.combining(value[end]):
        end -= 1
    return value[:end] + marker


def _cut_words(value: str, length: int, marker: str) -> str:
    words = list(re.finditer(r"\S+", value))
    if len(words) <= length:
        return value
    return value[: words[length - 1].end() if length else 0] + marker


def _cut_bytes(value: str, length: int, marker: str) -> str:
    whole = value.encode(errors="surrogatepass")
    if len(whole) <= length:
        return value
    kept = whole[: length - len(marker.encode())].decode(errors="ignore")
    return _cut_characters(value, len(kept), "") + marker
