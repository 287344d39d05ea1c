"""`headrace verify`: quiet about sound pipelines, and loud about each way of answering that differs."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace import assembly, serving
from headrace.adapters.cli.verify_http import native, open_inference
from headrace.domain.routing import Asked
from headrace.services.outcomes import jsonable
from headrace.services.verify import Answer, Row, Verdict

MODEL = '''
"""A model that answers by the columns given; `batch` is how many rows it saw."""
import numpy as np

def predict(x, word):
    x = np.asarray(x)
    if (x < 0).any():
        raise ValueError("negative")
    return {"y": (x * 2).astype("float32"), "label": [w.upper() for w in word], "seen": np.full(len(x), SEEN, "int64")}
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[str], Path]:
    def write(seen: str) -> Path:
        files = {
            "config/main.yaml": "{}",
            "config/models/words.yaml": """
type: python
path: models/words.py:predict
input_spec: [{name: x, shape: [-1, 3]}, {name: word, shape: [-1], dtype: string}]
output_spec:
  - {name: y, shape: [-1, 3]}
  - {name: label, shape: [-1], dtype: string}
  - {name: seen, shape: [-1], dtype: int64}
""",
            "models/words.py": MODEL.replace("SEEN", seen),
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        rows: list[Any] = [{"x": [n, n / 3, 0.1], "word": f"w{n}"} for n in range(40)]
        rows[7] = {"x": [-1, 0, 0], "word": "bad"}
        rows[9] = {"x": ["a", 0, 0], "word": "bad"}
        rows[11] = {"word": "no x"}
        rows[13] = {"x": [1, 2], "word": "short"}
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return tmp_path

    return write


def verdict_of(folder: Path, **ways: Callable[[Sequence[Row]], Any]) -> Verdict:
    async def run() -> Verdict:
        async with serving.open_server(folder / "config/main.yaml") as (application, url):
            pipeline = application.inference.choose(Asked("words")).pipeline
            doors = {"HTTP JSON": native(url, pipeline), "HTTP V2": open_inference(url, pipeline)}
            verification = application.verification(pipeline)
            return await verification.run(str(folder / "rows.jsonl"), {**doors, **ways})

    return asyncio.run(run())


def test_a_sound_pipeline_answers_alike_each_way_bad_rows_included(workspace: Callable[[str], Path]) -> None:
    verdict = verdict_of(workspace("0"))

    assert [str(one) for one in verdict.disagreements] == []
    assert (verdict.rows, verdict.failed) == (40, 4)
    assert set(verdict.ways) == {"requests in batches", "stream", "batch run", "HTTP JSON", "HTTP V2"}


def test_an_answer_that_depends_on_the_neighbours_is_told(workspace: Callable[[str], Path]) -> None:
    verdict = verdict_of(workspace("len(x)"))

    assert {one.way for one in verdict.disagreements} >= {"requests in batches", "stream", "batch run"}
    assert all(one.difference.where == "seen" for one in verdict.disagreements)


def spoil(change: Callable[[dict[str, Any]], Any]) -> Callable[[Answer], Any]:
    def spoiled(answer: Answer) -> Any:
        copy = json.loads(json.dumps(answer))
        return change(copy) or copy

    return spoiled


WAYS_TO_BE_WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a float in the fifth digit": lambda answer: answer["y"].__setitem__(0, answer["y"][0] * 1.0001),
    "another label": lambda answer: answer.update(label="W?"),
    "a column missing": lambda answer: answer.pop("seen") and None,
    "a column more": lambda answer: answer.update(more=1),
    "values in another order": lambda answer: answer["y"].reverse(),
    "a value too few": lambda answer: answer["y"].pop() and None,
    "an integer off by one": lambda answer: answer.update(seen=1),
    "null for a number": lambda answer: answer["y"].__setitem__(2, None),
    "a text for a number": lambda answer: answer.update(seen="0"),
    "a failure for an answer": lambda answer: {"error": {"code": "internal"}},
}


@pytest.mark.parametrize("change", WAYS_TO_BE_WRONG.values(), ids=WAYS_TO_BE_WRONG)
def test_each_planted_difference_is_found_at_its_row(
    workspace: Callable[[str], Path], change: Callable[[dict[str, Any]], Any]
) -> None:
    folder = workspace("0")

    async def run() -> Verdict:
        async with assembly.open_application(folder / "config/main.yaml") as application:
            verification = application.verification(application.inference.choose(Asked("words")).pipeline)

            async def wrong(rows: Sequence[Row]) -> list[Answer]:
                answers = await verification.alone(rows)
                answers[20] = spoil(change)(answers[20])
                return answers

            return await verification.run(str(folder / "rows.jsonl"), {"wrong": wrong})

    verdict = asyncio.run(run())

    assert {(one.way, one.row) for one in verdict.disagreements} == {("wrong", 21)}


EXAMPLES = sorted(
    path.name for path in (Path(__file__).parents[2] / "examples").iterdir() if (path / "config").is_dir()
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_example_answers_differently_each_way(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(Path(__file__).parents[2] / "examples" / name, folder)
    config = folder / "config/main.yaml"

    async def run() -> list[Verdict]:
        verdicts = []
        async with serving.open_server(config) as (application, url):
            for one in application.deployments.status():
                asked = Asked(one.ref.name, one.ref.version)
                pipeline = application.inference.choose(asked).pipeline
                rows = [jsonable(dict(row)) for row in application.deployments.workspace.examples(one.spec)]
                if not rows:
                    continue
                place = tmp_path / f"{one.ref.name}.jsonl"
                place.write_text("\n".join(json.dumps(row) for row in [*rows * 15, *spoiled(rows[0])]))
                doors = {"HTTP JSON": native(url, pipeline), "HTTP V2": open_inference(url, pipeline)}
                verdicts.append(await application.verification(pipeline).run(str(place), doors))
        return verdicts

    verdicts = asyncio.run(run())

    assert [str(one) for verdict in verdicts for one in verdict.disagreements] == []
    assert verdicts
    assert all(verdict.failed >= 2 for verdict in verdicts)


def spoiled(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that nothing should accept: each with a column missing, and with an object where a value belongs."""
    return [{name: value for name, value in row.items() if name != gone} for gone in row] + [
        {**row, name: {"no": "value"}} for name in row
    ]


def test_a_split_is_verified_at_the_version_that_it_led_to(tmp_path: Path) -> None:
    files = {"config/main.yaml": "{}", "config/routes/w.yaml": "{name: w, split: {'1': 1, '2': 1}}"}
    specs = "input_spec: [{name: x, shape: [-1]}]\noutput_spec: [{name: y, shape: [-1]}]\n"
    for version, factor in (("1", 2), ("2", 3)):
        files |= {
            f"config/models/m{version}.yaml": f"type: python\npath: models/m{version}.py:predict\n{specs}",
            f"models/m{version}.py": f"def predict(x):\n    return {{'y': x * {factor}}}\n",
            f"config/pipelines/w{version}.yaml": f"{{name: w, version: '{version}', model: m{version}}}",
        }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    place = tmp_path / "rows.jsonl"
    place.write_text("\n".join(json.dumps({"x": n + 1}) for n in range(20)))

    async def run() -> Verdict:
        async with serving.open_server(tmp_path / "config/main.yaml") as (application, url):
            pipeline = application.inference.choose(Asked("w")).pipeline
            doors = {"HTTP JSON": native(url, pipeline), "HTTP V2": open_inference(url, pipeline)}
            return await application.verification(pipeline).run(str(place), doors)

    verdict = asyncio.run(run())

    assert [str(one) for one in verdict.disagreements] == []
    assert verdict.rows == 20
