"""How does text become numbers and numbers text? A Hugging Face ``tokenizer.json``, or the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from headrace.domain.errors import InvalidInput
from headrace.domain.step import Place

Padding = Literal["longest", "max_length", "none"]
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>", "<blank>")
FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Length:
    """How long a row of tokens becomes; *truncated* cuts what is longer than *max_length*."""

    max_length: int | None = None
    padding: Padding = "longest"
    truncated: bool = True

    def target(self, lengths: Iterable[int]) -> int:
        """The length that rows of *lengths* are filled up to; 0 for none."""
        if self.padding == "none":
            return 0
        return max(lengths, default=0) if self.padding == "longest" else self.max_length or 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one text, or of a pair: ids, 1 where an id is no filling, and 1 for the second of a pair."""

    ids: list[int]
    mask: list[int]
    types: list[int]


class Codec(Protocol):
    """What turns texts into tokens and back."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Tokens]:
        """The tokens of every text (with its pair)."""

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """The text of every row of ids."""


@dataclass(frozen=True, slots=True)
class ByteCodec:
    """The bytes of UTF-8 as tokens 0 to 255; token 0 fills rows up."""

    length: Length

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Tokens]:
        """The bytes of every text, followed by those of its pair."""
        rows = [self._one(text, pair) for text, pair in zip(texts, pairs or [""] * len(texts), strict=True)]
        target = self.length.target(len(row.ids) for row in rows)
        return [_filled(row, target) for row in rows]

    def _one(self, text: str, pair: str) -> Tokens:
        first, second = text.encode(), pair.encode()
        ids = [*first, *second]
        if self.length.max_length is not None and self.length.truncated:
            ids = ids[: self.length.max_length]
        return Tokens(ids, [1] * len(ids), [int(place >= len(first)) for place in range(len(ids))])

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """Every row as text; what is no UTF-8 becomes U+FFFD. Token 0, and those beyond 255, are special."""
        lowest = 1 if skip_special else 0
        return [bytes(token for token in row if lowest <= token <= 255).decode(errors="replace") for row in ids]


def _filled(row: Tokens, target: int) -> Tokens:
    missing = [0] * (target - len(row.ids))
    return replace(row, ids=row.ids + missing, mask=row.mask + missing, types=row.types + missing)


@dataclass(frozen=True, slots=True)
class FileCodec:
    """A tokenizer from a file, with the length set; it is safe to use from several threads."""

    tokenizer: Any
    special: bool

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Tokens]:
        """What the tokenizer itself makes of every text, or of every text and its pair."""
        given = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        found = self.tokenizer.encode_batch_fast(given, add_special_tokens=self.special)
        return [Tokens(row.ids, row.attention_mask, row.type_ids) for row in found]

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """What the tokenizer itself makes of every row."""
        return list(self.tokenizer.decode_batch([list(row) for row in ids], skip_special_tokens=skip_special))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which codec a step asks for: the file (None: that of the model's folder, else bytes) and its settings."""

    path: str | None
    length: Length = Length(padding="none")
    special: bool = True
    pad_token: str | None = None
    pair: bool = False


def codec(wanted: Wanted, place: Place | None) -> Codec:
    """The codec for *wanted*, read once for each pipeline. Raises ValueError when the file cannot be used."""
    place = place or Place()
    if wanted not in place.kept:
        place.kept[wanted] = _read(wanted, place)
    found: Codec = place.kept[wanted]
    return found


def _read(wanted: Wanted, place: Place) -> Codec:
    if wanted.path is not None:
        path = place.root / wanted.path
        path = path / FILE if path.is_dir() else path
        shown = wanted.path
    elif place.model_folder is not None and (place.model_folder / FILE).is_file():
        path, shown = place.model_folder / FILE, f"{FILE} beside the model"
    else:
        return ByteCodec(wanted.length)
    tokenizer = _from_file(path, shown)
    _set_length(tokenizer, wanted, shown)
    return FileCodec(tokenizer, wanted.special)


def _from_file(path: Path, shown: str) -> Any:
    if not path.is_file():
        raise ValueError(f"finds no tokenizer at {shown!r}: no such file (paths start at the workspace root)")
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ValueError(f"cannot read {shown!r} as a Hugging Face {FILE}: {error}") from error


def _set_length(tokenizer: Any, wanted: Wanted, shown: str) -> None:
    """Length is the step's to say, so what the file says about it is put aside, save on which side it happens."""
    length, fill, cut = wanted.length, tokenizer.padding or {}, tokenizer.truncation or {}
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if length.max_length is not None and length.truncated:
        added = tokenizer.num_special_tokens_to_add(wanted.pair) if wanted.special else 0
        if length.max_length <= added:
            raise ValueError(f"wants a max_length above {added}, the tokens that {shown!r} adds to every text")
        tokenizer.enable_truncation(length.max_length, direction=cut.get("direction", "right"))
    if length.padding == "none":
        return
    token = wanted.pad_token or fill.get("pad_token") or _pad_token(tokenizer)
    number = None if token is None else tokenizer.token_to_id(token)
    if number is None:
        named = "has no token to fill rows with" if token is None else f"has no token {token!r}"
        raise ValueError(f"cannot pad: {shown!r} {named}; name one of its tokens in pad_token, or use padding: none")
    tokenizer.enable_padding(
        direction=fill.get("direction", "right"),
        pad_id=number,
        pad_token=token,
        pad_type_id=fill.get("pad_type_id", 0),
        length=length.max_length if length.padding == "max_length" else None,
    )


def _pad_token(tokenizer: Any) -> str | None:
    return next((token for token in PAD_TOKENS if tokenizer.token_to_id(token) is not None), None)


def check_texts(texts: Sequence[Any], name: str) -> None:
    """Raise InvalidInput for what is no text, or text that no encoding of Unicode can hold."""
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInput(f"column {name!r} wants text, not {'null' if text is None else type(text).__name__}")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidInput(f"column {name!r} holds half of a surrogate pair, which is no character") from None
