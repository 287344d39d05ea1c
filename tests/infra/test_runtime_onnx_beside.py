"""Calls that run beside others: when do they get a session of one thread, and is the answer the same?"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.infra import onnx_models

from headrace.domain.batch import Batch
from headrace.domain.errors import NotReady
from headrace.domain.model_call import model_step
from headrace.domain.step import Context
from headrace.infra.runtimes import onnx, onnx_beside
from headrace.infra.runtimes.onnx import OnnxModel
from headrace.infra.runtimes.onnx_beside import WORTH_CALLS, SecondSession


@pytest.fixture(autouse=True)
def _several_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "threads_of_library", lambda: 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return onnx_models.mlp(tmp_path / "net.onnx", (64, 128, 8))


def loaded(path: Path, **config: Any) -> OnnxModel:
    model = OnnxModel()
    model.load(str(path), {"name": "net", "path": path.name, "device": "cpu", **config})
    return model


def second(model: OnnxModel) -> SecondSession:
    assert model._second is not None
    return model._second


def asked_often(model: OnnxModel, column: Any) -> None:
    for _ in range(WORTH_CALLS):
        model.predict_beside({"x": column})


def opened(model: OnnxModel) -> bool:
    until = time.monotonic() + 10
    while second(model).session() is None and time.monotonic() < until:
        time.sleep(0.001)
    return second(model).session() is not None


@pytest.fixture
def column() -> Any:
    return np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)


def test_many_calls_beside_others_make_a_session_that_answers_alike(file: Path, column: Any) -> None:
    model = loaded(file)
    alone = model.predict({"x": column})

    for _ in range(WORTH_CALLS - 1):
        model.predict_beside({"x": column})
    assert second(model)._session is None
    asked_often(model, column)
    assert opened(model)
    beside = model.predict_beside({"x": column})

    assert second(model).session().get_session_options().intra_op_num_threads == 1
    for name, values in alone.items():
        np.testing.assert_allclose(beside[name], values, rtol=1e-5)


def test_what_it_takes_counts_as_memory_of_the_model(file: Path, column: Any) -> None:
    model = loaded(file)
    before = model.memory_bytes()

    asked_often(model, column)
    assert opened(model)

    assert model.memory_bytes() - before == file.stat().st_size


@pytest.mark.parametrize("config", [{"threads": 2}, {"threads": 1}])
def test_threads_that_somebody_has_set_stay_as_they_are(file: Path, config: Any, column: Any) -> None:
    model = loaded(file, **config)

    asked_often(model, column)

    assert model._second is None


def test_one_processor_needs_one_session(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "threads_of_library", lambda: 1)

    assert loaded(file)._second is None


def test_a_large_model_is_not_held_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_beside, "MOST_BYTES", file.stat().st_size - 1)

    assert loaded(file)._second is None


def test_weights_in_files_of_their_own_are_not_held_twice(tmp_path: Path) -> None:
    assert loaded(onnx_models.affine(tmp_path / "net.onnx", external="weights.bin"))._second is None


def test_a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_first(file: Path, column: Any) -> None:
    model = loaded(file)
    expected = model.predict({"x": column})
    other = onnx_models.mlp(file.with_name("other.onnx"), (64, 32, 8))
    other.replace(file)

    second(model).open()
    answer = model.predict_beside({"x": column})

    assert second(model).session() is None
    for name, values in expected.items():
        np.testing.assert_array_equal(answer[name], values)


def test_a_file_that_is_gone_does_no_harm(file: Path, column: Any) -> None:
    model = loaded(file)
    file.unlink()

    second(model).open()

    assert second(model).session() is None
    assert set(model.predict_beside({"x": column})) == set(model.predict({"x": column}))


def test_a_closed_model_has_no_session_left(file: Path, column: Any) -> None:
    model = loaded(file)
    late = second(model)

    model.close()
    late.open()

    assert late.session() is None
    with pytest.raises(NotReady):
        model.predict_beside({"x": column})


def test_a_crowded_batch_goes_beside_and_one_alone_does_not(file: Path, column: Any) -> None:
    class Noted(OnnxModel):
        beside = 0

        def predict_beside(self, inputs: Any) -> Any:
            Noted.beside += 1
            return super().predict_beside(inputs)

    model = Noted()
    model.load(str(file), {"name": "net", "path": file.name, "device": "cpu"})
    step = model_step(model, batched=True)

    step.run(Batch({"x": column}), Context())
    assert Noted.beside == 0
    step.run(Batch({"x": column}), Context(crowded=True))
    assert Noted.beside == 1
