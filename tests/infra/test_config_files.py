"""Does a folder of YAML become what it declares, and do its pipelines get built from it?"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidConfig, NotFound
from headrace.domain.pipeline import Pipeline
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelUse, PipelineSpec, StreamSpec
from headrace.domain.step import Context
from headrace.infra.config_files import WorkspaceFiles

ONNX = Path(__file__).parents[2] / "examples/digits/models/digits-mlp/1/model.onnx"
ECHO = "type: echo\ninput_spec: [{name: x, shape: [-1, 2]}]\n"
Write = Callable[[dict[str, str]], WorkspaceFiles]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(files: dict[str, str]) -> WorkspaceFiles:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return WorkspaceFiles(tmp_path)

    return write


async def run(pipeline: Pipeline, **columns: object) -> Batch:
    async def inline(segment: Callable[[Batch, Context], Batch], batch: Batch, context: Context) -> Batch:
        return segment(batch, context)

    batch = Batch({name: np.asarray(column, np.float32) for name, column in columns.items()})
    return await pipeline.run(batch, Context(), inline)


def only(workspace: WorkspaceFiles) -> Pipeline:
    (spec,) = workspace.read().pipelines.values()
    return workspace.build(spec)


def test_a_name_defaults_to_the_stem_and_the_stem_is_an_alias(write: Write) -> None:
    declared = write(
        {
            "config/models/digits-mlp.yaml": ECHO,
            "config/models/other.yaml": ECHO + "name: another\n",
            "config/pipelines/numbers.yaml": "{name: digits, model: digits-mlp}",
        }
    ).read()

    assert declared.models.keys() == {("digits-mlp", "1"), ("another", "1")}
    assert declared.pipelines.keys() == {
        PipelineRef("digits", "1"),
        PipelineRef("digits-mlp", "1"),
        PipelineRef("another", "1"),
    }
    assert declared.aliases == {"numbers": "digits", "other": "another"}


def test_a_model_may_be_named_by_the_stem_of_its_file(write: Write) -> None:
    declared = write({"config/models/file.yaml": ECHO + "name: m\n", "config/pipelines/p.yaml": "model: file\n"}).read()

    assert declared.pipelines[PipelineRef("p", "1")].model == ModelUse("m", "1")


def test_a_model_is_served_bare_unless_a_pipeline_has_its_name(write: Write) -> None:
    declared = write(
        {
            "config/models/m.yaml": ECHO,
            "config/models/n.yaml": ECHO,
            "config/pipelines/m.yaml": "{model: m, timeout_s: 3}",
        }
    ).read()

    assert declared.pipelines[PipelineRef("m", "1")].timeout_s == 3
    assert declared.pipelines[PipelineRef("n", "1")] == PipelineSpec(name="n", model=ModelUse("n", "1"))


def test_each_version_of_a_model_is_served_bare(write: Write) -> None:
    declared = write(
        {"config/models/a.yaml": ECHO + "name: m\n", "config/models/b.yaml": ECHO + 'name: m\nversion: "2"\n'}
    ).read()

    assert declared.pipelines.keys() == {PipelineRef("m", "1"), PipelineRef("m", "2")}


def test_a_bare_model_has_no_batch_axis_if_its_pipeline_says_so(write: Write) -> None:
    declared = write(
        {"config/models/graph.yaml": ECHO, "config/pipelines/club.yaml": "{model: graph, batching: false}"}
    ).read()

    assert declared.pipelines[PipelineRef("graph", "1")].batching is False


def test_a_model_inside_a_pipeline_is_declared_and_not_served_bare(write: Write) -> None:
    declared = write({"config/pipelines/p.yaml": "{version: '3', model: {type: echo}}"}).read()

    assert declared.pipelines.keys() == {PipelineRef("p", "3")}
    assert declared.pipelines[PipelineRef("p", "3")].model == ModelUse("p", "3")
    assert declared.models["p", "3"].type == "echo"


def test_versions_written_as_numbers_stay_what_was_written(write: Write) -> None:
    declared = write({"config/pipelines/p.yaml": "{version: 1.10, model: {type: echo}}"}).read()

    assert declared.pipelines.keys() == {PipelineRef("p", "1.10")}


def test_routes_and_streams_go_by_the_pipeline_s_own_name(write: Write) -> None:
    declared = write(
        {
            "config/pipelines/file.yaml": "{name: p, model: {type: echo}}",
            "config/routes/file.yaml": "{default: stable, aliases: {stable: '1'}}",
            "config/streams/events.yaml": "{pipeline: {name: file, version: stable}}",
        }
    ).read()

    assert [route.name for route in declared.routes] == ["p"]
    assert declared.streams == (StreamSpec("events", ModelUse("file", "stable")),)


def test_the_default_pipeline_goes_by_its_own_name(write: Write, tmp_path: Path) -> None:
    write({"config/pipelines/file.yaml": "{name: p, model: {type: echo}}"})

    assert WorkspaceFiles(tmp_path, default_pipeline="file").read().default == "p"


def test_an_empty_folder_declares_nothing(tmp_path: Path) -> None:
    declared = WorkspaceFiles(tmp_path).read()

    assert not declared.pipelines
    assert not declared.models


def test_reading_raises_every_mistake_with_its_place(write: Write) -> None:
    workspace = write({"config/models/m.yaml": "type: ecko\n", "config/pipelines/p.yaml": "modl: m\n"})

    with pytest.raises(InvalidConfig) as caught:
        workspace.read()

    lines = caught.value.message.splitlines()
    assert lines[0].startswith("config/models/m.yaml:1: type: ")
    assert lines[1].startswith("config/pipelines/p.yaml:1: modl: ")
    assert caught.value.details is not None
    first = caught.value.details["mistakes"][0]
    assert (first["file"], first["line"], first["key"]) == ("config/models/m.yaml", 1, "type")


def test_nobody_is_blamed_for_naming_what_cannot_be_read(write: Write) -> None:
    workspace = write(
        {
            "config/models/m.yaml": "type: [echo\n",
            "config/pipelines/p.yaml": "model: m\n",
            "config/pipelines/q.yaml": "- model\n",
            "config/routes/q.yaml": "default: '1'\n",
        }
    )

    files = {str(mistake.file) for mistake in workspace.check().mistakes}

    assert files == {"config/models/m.yaml", "config/pipelines/q.yaml"}


def test_what_does_nothing_is_a_warning(write: Write) -> None:
    found = write(
        {
            "config/models/m.yaml": ECHO,
            "config/models/m.yaml.bak": ECHO,
            "config/pipeline/p.yaml": "model: m\n",
            "models/old.onnx": "",
            "steps/own.py": "def shout(text): return text\n",
        }
    ).check()

    assert found.mistakes == ()
    assert [str(warning).split(": ")[0] for warning in found.warnings] == [
        "config/models/m.yaml.bak",
        "config/pipeline",
        "models/old.onnx",
        "steps/own.py",
    ]
    assert "did you mean 'pipelines'?" in found.warnings[1].message


TEXTS = "type: onnx\npath: models/texts/model.onnx\n"
TOKENIZED = "model: texts\npreprocessing:\n  - name: tokenize\n"


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({}, True),
        ({"models/texts/tokenizer.json": "{}"}, False),
        ({"config/pipelines/p.yaml": TOKENIZED + "    params: {tokenizer: own.json}\n", "own.json": "{}"}, False),
        ({"config/models/texts.yaml": ECHO}, False),
        ({"steps/own.py": "def tokenize(text: str) -> int: return 1\n"}, False),
    ],
    ids=["none", "beside the model", "named", "no folder", "a step of one's own"],
)
def test_bytes_that_are_taken_for_tokens_are_a_warning(write: Write, more: dict[str, str], warned: bool) -> None:
    files = {"config/models/texts.yaml": TEXTS, "config/pipelines/p.yaml": TOKENIZED, "models/texts/model.onnx": ""}

    found = [str(warning) for warning in write({**files, **more}).check().warnings]

    told = (
        "config/pipelines/p.yaml:3: tokenize takes the bytes of a text for its tokens, for there is no "
        "tokenizer.json in models/texts; put it there, or name one with params.tokenizer"
    )
    assert (told in found) is warned
    assert any("tokens" in warning for warning in found) is warned


def test_pipelines_that_disagree_about_the_batch_axis_are_a_warning(write: Write) -> None:
    found = write(
        {
            "config/models/m.yaml": ECHO,
            "config/pipelines/a.yaml": "{model: m}",
            "config/pipelines/b.yaml": "{model: m, batching: false}",
        }
    ).check()

    assert "batch axis: a, b" in found.warnings[0].message


async def test_a_built_pipeline_runs(write: Write) -> None:
    workspace = write(
        {
            "config/models/p.yaml": ECHO,
            "config/pipelines/p.yaml": "{model: p, preprocessing: [{name: twice}]}",
            "steps/own.py": "def twice(x, *, times: int = 2): return x * times\n",
        }
    )

    answer = await run(only(workspace), x=[[1, 2]])

    assert np.array_equal(answer.columns["x"], [[2, 4]])


async def test_pipelines_over_the_same_bytes_share_one_model(write: Write, tmp_path: Path) -> None:
    workspace = write(
        {"config/models/m.yaml": "path: models/m.onnx\n", "config/pipelines/p.yaml": "model: m\n", "models/x": ""}
    )
    shutil.copy(ONNX, tmp_path / "models/m.onnx")
    bare, named = (workspace.build(spec) for spec in workspace.read().pipelines.values())

    assert bare.model is named.model

    bare.close()
    assert (await run(named, pixels=np.zeros((1, 64)))).size == 1
    named.close()
    assert len(workspace._builder.pool) == 0


def test_other_bytes_are_another_model_and_another_digest(write: Write, tmp_path: Path) -> None:
    workspace = write({"config/models/m.yaml": "path: models/m.onnx\n", "models/x": ""})
    shutil.copy(ONNX, tmp_path / "models/m.onnx")
    before = only(workspace)
    (tmp_path / "models/m.onnx").write_bytes(ONNX.read_bytes() + b"\x72\x00")  # one more, empty, field of the format

    after = only(workspace)

    assert after.model is not before.model
    assert after.digest != before.digest


def test_the_digest_follows_steps_and_configuration(write: Write, tmp_path: Path) -> None:
    steps = tmp_path / "steps/own.py"
    pipeline = "{model: {type: echo}, preprocessing: [{name: own}]}"
    workspace = write({"config/pipelines/p.yaml": pipeline, "steps/own.py": "def own(text): return text\n"})
    first, again = only(workspace).digest, only(workspace).digest
    steps.write_text("def own(text): return list(text)\n")
    other_steps = only(workspace).digest
    (tmp_path / "config/pipelines/p.yaml").write_text(pipeline[:-1] + ", timeout_s: 3}")
    other_file = only(workspace).digest

    assert first == again
    assert len({first, other_steps, other_file}) == 3


def test_a_pinned_artefact_is_checked(write: Write, tmp_path: Path) -> None:
    digest = hashlib.sha256(ONNX.read_bytes()).hexdigest()
    files = {"config/models/m.yaml": f"path: models/m.onnx\nsha256: {digest}\n", "models/x": ""}
    workspace = write(files)
    shutil.copy(ONNX, tmp_path / "models/m.onnx")
    only(workspace).close()
    files["config/models/m.yaml"] = f"path: models/m.onnx\nsha256: {'0' * 64}\n"
    workspace = write(files)

    with pytest.raises(InvalidConfig, match=r"^config/models/m.yaml:2: sha256: found another file: .*" + digest):
        only(workspace)


def test_what_does_not_fit_the_loaded_model_is_told_with_its_line(write: Write, tmp_path: Path) -> None:
    workspace = write(
        {
            "config/pipelines/p.yaml": "model: {path: models/m.onnx}\npostprocessing:\n  - name: own\n",
            "steps/own.py": "def own(probability): return probability\n",
            "models/x": "",
        }
    )
    shutil.copy(ONNX, tmp_path / "models/m.onnx")

    with pytest.raises(InvalidConfig, match=r"config/pipelines/p.yaml:3: postprocessing\[0\]: .* did you mean"):
        only(workspace)

    assert len(workspace._builder.pool) == 0


def test_what_cannot_be_loaded_leaves_nothing_behind(write: Write) -> None:
    workspace = write({"config/models/m.yaml": "path: models/m.onnx\n", "models/m.onnx": "no model"})

    with pytest.raises(InvalidConfig):
        only(workspace)

    assert len(workspace._builder.pool) == 0


def test_an_artefact_that_went_away_is_not_found(write: Write, tmp_path: Path) -> None:
    workspace = write({"config/models/m.yaml": "path: models/m.onnx\n", "models/m.onnx": "soon gone"})
    (spec,) = workspace.read().pipelines.values()
    (tmp_path / "models/m.onnx").unlink()

    with pytest.raises(NotFound, match=r"m\.onnx"):
        workspace.build(spec)


def test_a_bad_reading_leaves_the_good_one_in_place(write: Write) -> None:
    workspace = write({"config/pipelines/p.yaml": "model: {type: echo, name: m}\n"})
    (spec,) = workspace.read().pipelines.values()
    write({"config/pipelines/p.yaml": "modl: m\n"})

    with pytest.raises(InvalidConfig):
        workspace.read()

    assert workspace.build(spec).model_name == "m"


def test_example_files_are_read(write: Write) -> None:
    workspace = write(
        {
            "config/pipelines/p.yaml": "{model: {type: echo}, examples: [{text: {file: a.txt}}, {text: b}]}",
            "a.txt": "content",
        }
    )
    (spec,) = workspace.read().pipelines.values()

    assert workspace.examples(spec) == [{"text": b"content"}, {"text": "b"}]


@pytest.mark.parametrize("name", ["config/models/m.yaml", "steps/own.py", ".env", "config/main.yaml"])
def test_the_fingerprint_changes_with_a_file(write: Write, tmp_path: Path, name: str) -> None:
    workspace = write({"config/models/m.yaml": ECHO, "steps/own.py": "", ".env": "", "config/main.yaml": ""})
    before = workspace.fingerprint()
    same = workspace.fingerprint()
    os.utime(tmp_path / name, ns=(1, 1))

    assert before == same
    assert workspace.fingerprint() != before


def test_the_fingerprint_is_blind_to_models_and_byte_code(write: Write) -> None:
    workspace = write({"config/models/m.yaml": ECHO})
    before = workspace.fingerprint()
    write({"models/m.onnx": "", "steps/__pycache__/own.pyc": ""})

    assert workspace.fingerprint() == before
