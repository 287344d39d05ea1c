"""Whatever the text, the reader answers with a value or with mistakes; and what is written comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.config import ConfigMistakes, Reader

LIMITS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Mode(Enum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    count: int | Literal["auto"] = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Whole:
    title: str = ""
    ratio: float = 0.5
    limit: int | None = None
    on: bool = False
    mode: Mode = Mode.FAST
    part: Part | Literal[False] = False
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] = (0, "")
    weights: Mapping[str, float] = field(default_factory=dict)


class Quoting(yaml.SafeDumper):
    """Writes every text in quotes, since YAML 1.1 (the dumper) and 1.2 (the reader) differ about plain ones."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
Quoting.add_multi_representer(Enum, lambda dumper, member: dumper.represent_str(member.value))

# What YAML can hold: no control characters, no surrogates.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), max_size=12)
names = texts.filter(lambda text: "${" not in text)  # keys are not expanded, so they need no escape
plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
parts = st.builds(Part, texts, st.integers() | st.just("auto"), st.dictionaries(names, plain_data, max_size=3))
wholes = st.builds(
    Whole,
    texts,
    st.floats(allow_nan=False),
    st.none() | st.integers(),
    st.booleans(),
    st.sampled_from(Mode),
    parts | st.just(False),
    st.lists(parts, max_size=2).map(tuple),
    st.tuples(st.integers(), texts),
    st.dictionaries(names, st.floats(allow_nan=False), max_size=3),
)

WORDS = "title parts part name on : - [ ] { } , &a *a << ? | > ' \" # !x ${X} ${ $${ ${Y:-1} 1 0x1 .nan ~ true é 1e999"
SPACES = [" ", "\n", "\n  ", "\t", "\u2028", "\x85", "\ufeff", "---\n", "...\n", "%YAML 1.1\n", ": ", "- "]
fragments = st.sampled_from([*WORDS.split(), *SPACES])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def outcome(root: Path, content: bytes, hint: type[Any]) -> Any:
    """What the reader makes of *content*; only ConfigMistakes may leave it."""
    (root / "any.yaml").write_bytes(content)
    reader = Reader(root, {"X": "s3cr3t-value"})
    value = reader.read(Path("any.yaml"), hint)
    try:
        reader.raise_if_any()
    except ConfigMistakes as error:
        assert "s3cr3t-value" not in str(error)
        last = content.decode(errors="replace").replace("\u2028", "\n").replace("\x85", "\n").replace("\r", "\n")
        assert all(1 <= mistake.line <= last.count("\n") + 1 for mistake in error.mistakes)
        return error
    assert value is not None
    return value


@LIMITS
@given(pieces=st.lists(fragments, max_size=25))
@pytest.mark.parametrize("hint", [Whole, dict], ids=["strict", "plain"])
def test_nothing_but_mistakes_comes_from_pieces_of_yaml(root: Path, hint: type[Any], pieces: list[str]) -> None:
    assert isinstance(outcome(root, "".join(pieces).encode(), hint), hint | ConfigMistakes)


@LIMITS
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_nothing_but_mistakes_comes_from_arbitrary_bytes(root: Path, content: bytes) -> None:
    assert isinstance(outcome(root, content, Whole), Whole | ConfigMistakes)


@LIMITS
@given(data=plain_data)
def test_nothing_but_mistakes_comes_from_values_in_wrong_places(root: Path, data: Any) -> None:
    document = dict.fromkeys(("title", "ratio", "limit", "on", "mode", "part", "parts", "pair", "weights"), data)

    assert isinstance(outcome(root, yaml.dump(document, Dumper=Quoting).encode(), Whole), Whole | ConfigMistakes)


@LIMITS
@given(whole=wholes)
def test_what_is_written_comes_back(root: Path, whole: Whole) -> None:
    text = yaml.dump({**asdict(whole), "pair": list(whole.pair)}, Dumper=Quoting, allow_unicode=True)
    (root / "whole.yaml").write_text(text.replace("${", "$${").replace("!!python/tuple", ""), encoding="utf-8")
    reader = Reader(root, {})

    back = reader.read(Path("whole.yaml"), Whole)

    reader.raise_if_any()
    assert back == whole
