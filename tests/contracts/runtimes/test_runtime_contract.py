"""Does every runtime keep the promises of ModelAdapter? One suite, run on a small model of each."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from tests.infra import onnx_models, sklearn_models

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidConfig, InvalidInput
from headrace.domain.model import ModelAdapter
from headrace.domain.model_call import model_step
from headrace.domain.step import Context
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.isolation.model import load_isolated
from headrace.infra.runtimes import load_model

FLOATS = st.floats(-100, 100, width=32)
VECTORS = st.lists(FLOATS, min_size=4, max_size=4)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

PYTHON = """
import numpy as np

def total(x, *, power=2):
    return {"total": np.sum(np.asarray(x) ** power, axis=1), "first": np.asarray(x)[:, 0]}
"""


@dataclass(frozen=True)
class Case:
    """A model of one runtime: how it is written, its configuration, its rows, and a row that it must refuse."""

    type: str
    write: Callable[[Path], Any]
    config: Mapping[str, Any]
    row: Mapping[str, st.SearchStrategy[Any]]
    bad_row: Mapping[str, Any]
    isolated: bool = False


def python_file(path: Path) -> None:
    path.write_text(PYTHON)


X = [{"name": "x", "shape": [-1, 4], "dtype": "float32"}]
CASES = {
    "onnx": Case("onnx", onnx_models.affine, {"path": "net.onnx"}, {"x": VECTORS}, {"x": [1.0]}),
    "onnx, layers": Case("onnx", onnx_models.mlp, {"path": "net.onnx"}, {"x": VECTORS}, {"x": ["a"] * 4}),
    "onnx, batch axis fixed at 3": Case(
        "onnx", partial(onnx_models.affine, batch=3), {"path": "net.onnx"}, {"x": VECTORS}, {"x": None}
    ),
    "onnx, no batch axis": Case(
        "onnx", onnx_models.unbatched, {"path": "net.onnx", "batched": False},
        {"x": VECTORS, "scale": FLOATS}, {"x": [1.0], "scale": 1.0},
    ),
    "onnx, strings": Case(
        "onnx", partial(onnx_models.identity, kind=TensorProto.STRING, shape=["batch"]), {"path": "net.onnx"},
        {"x": TEXTS}, {"x": 5},
    ),
    "onnx, rows of any length": Case(
        "onnx", onnx_models.row_sums, {"path": "net.onnx"},
        {"x": st.lists(FLOATS, min_size=1, max_size=3)}, {"x": [[1.0]]},
    ),
    "sklearn": Case(
        "sklearn", sklearn_models.classifier, {"path": "net.skops"}, {"x": VECTORS}, {"x": [1.0]}
    ),
    "sklearn, outliers in a pickle": Case(
        "sklearn", sklearn_models.outliers, {"path": "net.joblib", "trust": True}, {"x": VECTORS}, {"x": [None] * 4}
    ),
    "sklearn, named columns and categories": Case(
        "sklearn", sklearn_models.buyers, {"path": "net.skops"},
        {"age": FLOATS, "city": st.sampled_from(sklearn_models.CITIES), "children": st.integers(0, 9)},
        {"city": "Rome", "age": 1.0, "children": 0},
    ),
    "sklearn, text": Case("sklearn", sklearn_models.sentences, {"path": "net.skops"}, {"text": TEXTS}, {"text": 5}),
    "sklearn, xgboost": Case(
        "sklearn", sklearn_models.xgboost, {"path": "net.ubj"}, {"x": VECTORS}, {"x": ["a"] * 4}
    ),
    "sklearn, lightgbm": Case(
        "sklearn", sklearn_models.lightgbm, {"path": "net.txt"}, {"x": VECTORS}, {"x": [[1.0]] * 4}
    ),
    "python": Case(
        "python", python_file,
        {"path": "net.py:total", "input_spec": X, "output_spec": [{"name": "total"}, {"name": "first"}]},
        {"x": VECTORS}, {"x": [1.0]},
    ),
    "echo": Case(
        "echo", lambda path: None, {},
        {"text": TEXTS, "max_tokens": st.integers(0, 3)}, {"text": 1, "max_tokens": 0},
    ),
    "echo, made numbers": Case(
        "echo", lambda path: None, {"input_spec": X, "output_spec": [{"name": "y", "shape": [-1, 2]}]},
        {"x": VECTORS}, {"x": [1.0]},
    ),
}  # fmt: skip
APART = (
    "onnx", "onnx, batch axis fixed at 3", "onnx, no batch axis", "onnx, strings", "onnx, rows of any length",
    "sklearn, named columns and categories", "python", "echo",
)  # fmt: skip
CASES |= {f"{name}, in a process of its own": replace(CASES[name], isolated=True) for name in APART}


@pytest.fixture(params=CASES.values(), ids=CASES.keys(), scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def root(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    case.write(folder / str(case.config.get("path", "net")).partition(":")[0])
    return folder


def load(case: Case, root: Path, **config: Any) -> ModelAdapter:
    given = {"name": "net", "root": str(root), "device": "cpu", **case.config, **config}
    model = (load_isolated if case.isolated else load_model)(
        case.type, str(root / str(case.config.get("path", ""))), given
    )
    assert isinstance(model, ModelAdapter)
    return model


@pytest.fixture(scope="module")
def model(case: Case, root: Path) -> Iterator[ModelAdapter]:
    model = load(case, root)
    yield model
    model.close()


def run(case: Case, model: ModelAdapter, rows: list[dict[str, Any]]) -> Mapping[str, Column]:
    step = model_step(model, batched=bool(case.config.get("batched", True)))
    answer = step.run(Batch.from_rows(rows), Context())
    assert isinstance(answer, Batch)
    for error in answer.failures.values():
        raise error
    return {name: answer.columns[name] for name in model.get_output_spec()}


def row(case: Case) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict(case.row))


def same(one: Any, other: Any) -> None:
    if np.asarray(one).dtype.kind in "fiub":
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    else:
        assert one == other


prompt = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(prompt, max_examples=3)


def test_it_says_which_columns_it_takes_and_gives(case: Case, model: ModelAdapter) -> None:
    for specs in (model.get_input_spec(), model.get_output_spec()):
        assert specs
        assert all(isinstance(spec, TensorSpec) and spec.name == name for name, spec in specs.items())
    assert model.get_input_spec().keys() == case.row.keys()


@prompt
@given(data=st.data())
def test_a_batch_of_any_size_answers_as_its_rows_one_by_one(
    case: Case, model: ModelAdapter, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(row(case), min_size=1, max_size=7))

    together = run(case, model, rows)

    for number, single in enumerate(rows):
        alone = run(case, model, [single])
        for name, column in together.items():
            assert len(column) == len(rows)
            same(column[number], alone[name][0])


@prompt
@given(data=st.data())
def test_its_answers_are_of_the_type_and_shape_that_it_says(
    case: Case, model: ModelAdapter, data: st.DataObject
) -> None:
    batched = case.config.get("batched", True)

    answer = run(case, model, [data.draw(row(case))])

    for name, spec in model.get_output_spec().items():
        value = answer[name][0]
        if spec.numeric:
            assert value.dtype == spec.dtype
            wanted = spec.row_shape if batched else spec.shape
            assert wanted is not None
            assert len(wanted) == value.ndim
            assert all(want in (-1, have) for want, have in zip(wanted, value.shape, strict=True))
        else:
            assert isinstance(value, str)


class Watched(ModelAdapter):
    """A model whose inputs are compared with what they were before each call."""

    pure = True

    def __init__(self, model: ModelAdapter) -> None:
        self._model = model

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        self._model.load(model_path, config)

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        return self._model.get_input_spec()

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        return self._model.get_output_spec()

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        before = deepcopy(inputs)
        answer = self._model.predict(inputs)
        for name, column in before.items():
            assert repr(inputs[name]) == repr(column)
        return answer


@prompt
@given(data=st.data())
def test_it_keeps_its_hands_off_its_inputs(case: Case, model: ModelAdapter, data: st.DataObject) -> None:
    if not model.pure:
        pytest.skip("says that it may change them")
    rows = data.draw(st.lists(row(case), min_size=2, max_size=3))

    run(case, Watched(model), rows)


@prompt
@given(data=st.data())
def test_it_answers_many_threads_at_once(case: Case, model: ModelAdapter, data: st.DataObject) -> None:
    if not model.concurrent:
        pytest.skip("says that it wants to be called by one thread at a time")
    rows = data.draw(st.lists(row(case), min_size=4, max_size=8))
    alone = [run(case, model, [single]) for single in rows]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda single: run(case, model, [single]), rows))

    for answer, expected in zip(answers, alone, strict=True):
        for name, column in expected.items():
            same(answer[name][0], column[0])


def test_a_row_that_does_not_fit_is_the_callers_fault(case: Case, model: ModelAdapter) -> None:
    with pytest.raises(InvalidInput, match=next(iter(case.bad_row))):
        run(case, model, [dict(case.bad_row)])


def test_it_describes_itself_in_plain_data(model: ModelAdapter) -> None:
    facts = model.describe()

    assert facts["platform"]
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    "mistake",
    [
        {"options": {"no_such_option": 1}},
        {"output_spec": [{"name": "y", "dtype": "float23"}]},
        {"input_spec": [{"dtype": "float32"}]},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
def test_a_mistake_in_its_file_is_refused_and_names_the_model(case: Case, root: Path, mistake: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="model 'net'") as caught:
        load(case, root, **mistake)

    assert str(root) not in caught.value.message


def test_it_may_be_closed_before_it_answers_anything(case: Case, root: Path) -> None:
    load(case, root).close()


@few
@given(data=st.data())
def test_closing_one_leaves_another_of_the_same_file_working(
    case: Case, root: Path, model: ModelAdapter, data: st.DataObject
) -> None:
    rows = [data.draw(row(case))]
    before = run(case, model, rows)

    load(case, root).close()

    for name, column in run(case, model, rows).items():
        same(column[0], before[name][0])
