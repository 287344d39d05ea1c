"""Does a configuration that is damaged anywhere get an answer that points into it, whatever the damage?"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.infra.config_files import WorkspaceFiles

SOUND: dict[str, Any] = {
    "config/models/m.yaml": {
        "name": "m",
        "version": "1",
        "type": "echo",
        "device": "auto",
        "threads": 2,
        "input_spec": [{"name": "pixels", "shape": [-1, 64], "dtype": "float32"}],
        "output_spec": [{"name": "probabilities", "shape": [-1, 3], "dtype": "float32"}],
        "options": {"delay_s": 0.0},
    },
    "config/pipelines/p.yaml": {
        "name": "digits",
        "version": "1",
        "model": {"name": "m", "version": "1"},
        "preprocessing": [
            {"name": "image.decode", "params": {"mode": "L"}},
            {"name": "image.resize", "params": {"size": [8, 8]}},
            {"name": "image.to_tensor"},
            {"name": "tensors.reshape", "params": {"shape": [64]}},
            {"name": "tensors.rename", "params": {"image": "pixels"}},
            {"name": "own", "columns": {"x": "pixels"}},
        ],
        "postprocessing": [{"name": "labels.top_k", "params": {"k": 2, "labels": ["a", "b", "c"]}}],
        "outputs": ["prediction", "top_predictions", "probabilities"],
        "batching": {"max_size": 8, "max_wait_ms": 0, "max_queue": 16},
        "cache": {"ttl_s": 60},
        "examples": [{"image": {"file": "examples/a.png"}}],
    },
    "config/pipelines/inline.yaml": {
        "pipeline": {"model": {"type": "echo"}, "examples": [{"text": "a", "max_tokens": 1}]}
    },
    "config/routes/digits.yaml": {
        "default": "1",
        "aliases": {"stable": "1"},
        "split": {"1": 90, "stable": 10},
        "sticky": "image",
        "match": [{"header": {"x-canary": "true"}, "version": "1"}],
        "shadow": "stable",
    },
    "config/streams/s.yaml": {"pipeline": "digits", "window": {"max_events": 4, "max_ms": 5}, "topic": "t"},
}
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "x", "${UNSET}", "a/b@c", "x" * 5000, "\u0000",
    [], [None], [[[]]], {}, {"": {}}, {"file": 3}, {"a": {"b": [1, {"c": None}]}}, -(2**70), "2024-01-01", "1:30",
)  # fmt: skip


def positions(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside *value*."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from positions(value[key])


def damage(chance: random.Random) -> dict[str, Any]:
    """A copy of the sound files with up to three values replaced, removed, or under a key that is misspelt."""
    files = copy.deepcopy(SOUND)
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice([place for document in files.values() for place in positions(document)])
        kind = chance.choice(("replace", "remove", "misspell"))
        if kind == "replace" or (kind == "misspell" and isinstance(container, list)):
            container[key] = chance.choice(ODD)
        elif kind == "remove":
            del container[key]
        elif isinstance(key, str):
            container[f"{key[1:]}{key[:1]}"] = container.pop(key)
    return files


def write(root: Path, files: dict[str, Any]) -> WorkspaceFiles:
    for name, document in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in {"examples/a.png": "", "steps/own.py": "def own(x): return x\n"}.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return WorkspaceFiles(root)


def test_the_sound_configuration_has_no_mistakes(tmp_path: Path) -> None:
    assert [str(mistake) for mistake in write(tmp_path, SOUND).check().mistakes] == []


@pytest.mark.parametrize("seed", range(150))
def test_damage_is_answered_with_lines_that_exist(seed: int, tmp_path: Path) -> None:
    workspace = write(tmp_path, damage(random.Random(seed)))

    found = workspace.check()

    for mistake in found.mistakes:
        lines = (tmp_path / mistake.file).read_text().splitlines()
        assert 1 <= mistake.line <= max(1, len(lines)), str(mistake)
        assert mistake.message
