"""A pipeline that waits for the outside cannot be pinned to the loop, whenever that turns out."""

from pathlib import Path

import pytest

from headrace.domain.errors import InvalidConfig
from headrace.infra.config_files import WorkspaceFiles

COLUMNS = "input_spec: [{name: x, shape: [-1]}], output_spec: [{name: x, shape: [-1]}]"


def workspace(root: Path, function: str) -> WorkspaceFiles:
    for name, text in {
        "models/code.py": "def local(x):\n    return x\n\n\nasync def remote(x):\n    return x\n",
        "config/pipelines/p.yaml": (
            f'model: {{type: python, path: "models/code.py:{function}", {COLUMNS}}}\nplacement: inline\n'
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return WorkspaceFiles(root)


def test_a_coroutine_is_refused_at_its_line_when_it_is_loaded(tmp_path: Path) -> None:
    files = workspace(tmp_path, "remote")
    (spec,) = files.read().pipelines.values()

    with pytest.raises(InvalidConfig, match="found 'inline', but model 'p' waits") as refused:
        files.build(spec)

    assert refused.value.details is not None
    assert [(one["line"], one["key"]) for one in refused.value.details["mistakes"]] == [(2, "placement")]


def test_a_function_may_be_pinned(tmp_path: Path) -> None:
    files = workspace(tmp_path, "local")
    (spec,) = files.read().pipelines.values()

    assert files.build(spec).spec.placement == "inline"
