"""What does an ONNX model say about itself, what does it refuse, and in which words?"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.infra import onnx_models

from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidConfig, InvalidInput, ModelFailure, NotReady
from headrace.domain.model_call import model_step
from headrace.domain.step import Context
from headrace.domain.tensors import TensorSpec
from headrace.infra.runtimes.onnx import OnnxModel


def loaded(path: Path, **config: Any) -> OnnxModel:
    model = OnnxModel()
    model.load(str(path), {"name": "net", "path": f"models/{path.name}", "device": "cpu", **config})
    return model


def refusal(path: Path, **config: Any) -> str:
    with pytest.raises(InvalidConfig) as caught:
        loaded(path, **config)
    message = caught.value.message
    assert message.startswith(f"model 'net' (models/{path.name}): ")
    assert str(path.parent) not in message
    assert "onnxruntime_src" not in message
    return message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


TYPES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "BOOL": "bool",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
}


@pytest.mark.parametrize(("kind", "dtype"), TYPES.items())
def test_every_type_that_numpy_has_goes_in_and_comes_out(file: Path, kind: str, dtype: str) -> None:
    model = loaded(onnx_models.identity(file, getattr(TensorProto, kind)))
    column = np.array([[0, 1], [1, 1]], dtype=dtype)

    answer = model.predict({"x": column})

    assert model.get_input_spec() == {"x": TensorSpec(dtype, (-1, 2), "x")}
    assert model.get_output_spec() == {"y": TensorSpec(dtype, (-1, 2), "y")}
    assert answer["y"].dtype == dtype
    np.testing.assert_array_equal(answer["y"], column)


def test_strings_are_lists_of_str(file: Path) -> None:
    model = loaded(onnx_models.identity(file, TensorProto.STRING, ["batch"]))

    answer = model.predict({"x": ["größe", "", "\U0001f30a"]})

    assert model.get_input_spec() == {"x": TensorSpec("string", (-1,), "x")}
    assert answer == {"y": ["größe", "", "\U0001f30a"]}


def test_several_strings_in_a_row_are_object_arrays(file: Path) -> None:
    model = loaded(onnx_models.identity(file, TensorProto.STRING))

    answer = model.predict({"x": np.array([["a", "b"]], dtype=object)})

    assert answer["y"].dtype == object
    assert answer["y"].tolist() == [["a", "b"]]


def test_text_that_is_not_unicode_is_the_callers_fault(file: Path) -> None:
    model = loaded(onnx_models.identity(file, TensorProto.STRING, ["batch"]))

    with pytest.raises(InvalidInput, match="lone surrogate"):
        model.predict({"x": ["\ud800"]})


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "COMPLEX64"])
def test_types_that_numpy_lacks_are_refused(file: Path, kind: str) -> None:
    message = refusal(onnx_models.identity(file, getattr(TensorProto, kind), opset=23))

    assert kind.lower() in message


def test_a_fixed_batch_axis_is_reported_as_it_is(file: Path) -> None:
    model = loaded(onnx_models.affine(file, batch=3))

    assert model.get_input_spec()["x"].shape == (3, 4)
    assert model.get_output_spec()["y"].shape == (3, 3)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_a_fixed_batch_axis_serves_any_number_of_rows(file: Path, rows: int) -> None:
    model = loaded(onnx_models.affine(file, batch=3))
    column = np.random.default_rng(rows).random((rows, 4), dtype=np.float32)

    answer = model_step(model, batched=True).run(Batch({"x": column}), Context())

    np.testing.assert_allclose(answer.columns["y"], onnx_models.affine_answer(column), rtol=1e-5, atol=1e-6)


def test_a_model_without_a_batch_axis_takes_whole_tensors_and_scalars(file: Path) -> None:
    model = loaded(onnx_models.unbatched(file), batched=False)
    rows = Batch({"x": [[1.0, 2.0, 3.0, 4.0]], "scale": [2.0]})

    answer = model_step(model, batched=False).run(rows, Context())

    assert model.get_input_spec()["x"].shape == (4,)
    assert model.get_input_spec()["scale"].shape == ()
    assert answer.columns["y"][0].tolist() == [2.0, 4.0, 6.0, 8.0]


def test_strings_of_a_model_without_a_batch_axis_come_back_plain(file: Path) -> None:
    model = loaded(onnx_models.identity(file, TensorProto.STRING, []), batched=False)

    answer = model_step(model, batched=False).run(Batch({"x": ["a"]}), Context())

    assert answer.columns["y"] == ["a"]


def test_an_unknown_shape_is_not_taken_for_a_scalar(file: Path) -> None:
    model = loaded(onnx_models.identity(file, shape=None))

    assert model.get_input_spec()["x"].shape is None


def test_rows_of_differing_length_are_answered_in_the_order_asked(file: Path) -> None:
    model = loaded(onnx_models.row_sums(file))
    rows = [[1.0, 2.0], [5.0], [3.0, 4.0], [1.0, 1.0, 1.0]]

    answer = model_step(model, batched=True).run(Batch({"x": rows}), Context())

    assert answer.columns["total"].tolist() == [3.0, 5.0, 7.0, 3.0]
    assert [row.tolist() for row in answer.columns["twice"]] == [[2 * x for x in row] for row in rows]


@pytest.mark.parametrize(
    ("write", "hint"),
    [
        (onnx_models.sequence_output, "leave it out of output_spec"),
        (onnx_models.sequence_input, "tensors only"),
        (onnx_models.optional_input, "tensors only"),
        (onnx_models.zipmap_output, "options={'zipmap': False}"),
    ],
)
def test_sequences_maps_and_optionals_are_refused_with_a_way_out(file: Path, write: Any, hint: str) -> None:
    message = refusal(write(file))

    assert "which has no column" in message
    assert hint in message


def test_an_output_that_is_not_chosen_may_be_of_any_type(file: Path) -> None:
    model = loaded(onnx_models.sequence_output(file), output_spec=[{"name": "z", "shape": [-1]}])

    assert model.predict({"x": np.ones(2, dtype=np.float32)}).keys() == {"z"}


def test_stated_specs_narrow_free_axes_and_bring_defaults(file: Path) -> None:
    stated = [{"name": "x", "shape": [1, 6], "dtype": "float32", "default": [0.0] * 6}]
    model = loaded(onnx_models.row_sums(file), input_spec=stated, output_spec=[{"name": "twice", "shape": [-1, -1]}])

    assert model.get_input_spec() == {"x": TensorSpec("float32", (1, 6), "x", [0.0] * 6, True)}
    assert model.get_output_spec() == {"twice": TensorSpec("float32", (-1, -1), "twice")}


def test_a_stated_free_axis_keeps_the_size_of_the_artefact(file: Path) -> None:
    model = loaded(onnx_models.affine(file, batch=1), input_spec=[{"name": "x", "shape": [-1, -1]}])

    assert model.get_input_spec()["x"].shape == (1, 4)


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"input_spec": [{"name": "x", "shape": [-1, 5]}]}, r"says float32\[\?,5\] for 'x'.*float32\[\?,4\].*shapes"),
        ({"input_spec": [{"name": "x", "shape": [-1]}]}, "shapes differ"),
        ({"input_spec": [{"name": "x", "shape": [-1, 4], "dtype": "int64"}]}, "dtypes differ"),
        ({"input_spec": [{"name": "x", "dtype": "flaot32"}]}, "did you mean 'float32'"),
        ({"input_spec": [{"name": "x1"}]}, "names 'x1', which the artefact does not have.*it has: x"),
        ({"input_spec": []}, "input_spec lacks 'x'"),
        ({"output_spec": [{"name": "y"}, {"name": "y"}]}, "names the column 'y' twice"),
        ({"output_spec": [{"name": "y", "shape": [-2]}]}, "wants integers, -1 for any size"),
        ({"options": {"graph_optimisation": "all"}}, "did you mean 'graph_optimization'"),
        ({"options": {"graph_optimization": "most"}}, "one of all, extended, basic, none"),
        ({"threads": 0}, "at least 1"),
        ({"device": "gpu"}, "allowed: cpu, cuda, cuda:N, auto"),
    ],
)
def test_a_file_that_contradicts_the_artefact_is_refused(file: Path, stated: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidConfig, match=found):
        loaded(onnx_models.affine(file), **stated)


def test_inputs_that_do_not_fit_are_the_callers_fault(file: Path) -> None:
    model = loaded(onnx_models.affine(file))
    fitting = np.zeros((2, 4), dtype=np.float32)

    for inputs, found in [
        ({"x": fitting[:, :3]}, r"'x' wants float32\[\?,4\], not the shape \[2, 3\]"),
        ({"x": fitting[0]}, r"not the shape \[4\]"),
        ({"x": fitting.astype("float64")}, "'x' wants float32, not float64"),
        ({"x": np.array([["a"] * 4], dtype=object)}, "'x' wants float32, not objects"),
        ({"z": fitting}, "wants the inputs x; missing: x; unknown: z"),
        ({"x": fitting, "z": fitting}, "missing: none; unknown: z"),
    ]:
        with pytest.raises(InvalidInput, match=found):
            model.predict(inputs)


def test_inputs_that_contradict_each_other_are_the_callers_fault(file: Path) -> None:
    model = loaded(onnx_models.masked(file))
    values, mask = np.zeros((2, 3), dtype=np.float32), np.zeros((2, 5), dtype=np.float32)

    with pytest.raises(InvalidInput, match="'values' and 'mask' should agree in the axis 'length': there are 3 and 5"):
        model.predict({"values": values, "mask": mask})


def test_one_that_stands_for_any_size_is_no_contradiction(file: Path) -> None:
    model = loaded(onnx_models.masked(file, "picked"))
    values, one, far = np.ones((2, 3), np.float32), np.ones((2, 1), np.float32), np.array([7, 7])

    assert model.predict({"values": values, "mask": one, "picked": far * 0})["kept"].shape == (2, 3)
    with pytest.raises(InvalidInput, match=r"refuses its inputs: .*idx=7"):
        model.predict({"values": values, "mask": one, "picked": far})


def test_a_value_that_the_graph_refuses_is_the_callers_fault(file: Path) -> None:
    model = loaded(onnx_models.lookup(file))

    with pytest.raises(InvalidInput, match=r"idx=7 must be within the inclusive range \[-3,2\]"):
        model.predict({"index": np.array([7])})


def test_a_failure_inside_the_graph_is_the_models_and_shows_no_source_path(file: Path) -> None:
    model = loaded(onnx_models.brittle(file))

    with pytest.raises(ModelFailure, match="broadcast an axis") as caught:
        model.predict({"x": np.zeros((1, 2), dtype=np.float32)})

    assert "/" not in caught.value.message


def test_a_model_works_on_after_a_failure(file: Path) -> None:
    model = loaded(onnx_models.lookup(file))
    with pytest.raises(InvalidInput):
        model.predict({"index": np.array([7])})

    assert model.predict({"index": np.array([1])})["value"].tolist() == [2.0]


def test_a_missing_file_is_named_as_configured(file: Path) -> None:
    assert refusal(file) == "model 'net' (models/net.onnx): there is no such file"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x09" + b"\xff" * 40])
def test_a_corrupt_file_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert refusal(file)


def test_a_truncated_file_is_refused(file: Path) -> None:
    content = onnx_models.mlp(file).read_bytes()
    file.write_bytes(content[: len(content) // 2])

    assert "Protobuf parsing failed" in refusal(file)


def test_an_opset_from_the_future_is_refused(file: Path) -> None:
    assert "Opset 99" in refusal(onnx_models.identity(file, opset=99))


def test_an_operator_that_nobody_knows_is_refused(file: Path) -> None:
    nodes = [helper.make_node("Nonsense", ["x"], ["y"])]
    kinds = [onnx_models.tensor(name, TensorProto.FLOAT, ["batch"]) for name in ("x", "y")]

    assert "Nonsense" in refusal(onnx_models.save(file, nodes, kinds[:1], kinds[1:]))


def test_weights_in_a_file_of_their_own_are_found_beside_the_model(file: Path) -> None:
    model = loaded(onnx_models.affine(file, external="net.weights"))
    column = np.ones((2, 4), dtype=np.float32)

    np.testing.assert_allclose(model.predict({"x": column})["y"], onnx_models.affine_answer(column), rtol=1e-5)


def test_missing_weights_are_named(file: Path) -> None:
    onnx_models.affine(file, external="net.weights")
    (file.parent / "net.weights").unlink()

    assert "net.weights" in refusal(file)


def test_a_folder_stands_for_the_model_in_it(file: Path) -> None:
    onnx_models.affine(file)

    assert loaded(file.parent).get_input_spec().keys() == {"x"}


def test_a_folder_with_several_models_is_ambiguous(file: Path) -> None:
    onnx_models.affine(file)
    onnx_models.affine(file.with_name("other.onnx"))

    with pytest.raises(InvalidConfig, match=r"there is: net\.onnx, other\.onnx"):
        loaded(file.parent)


def test_cuda_without_a_gpu_runs_on_the_cpu_and_says_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = loaded(onnx_models.affine(file), device="cuda:1")

    (warning,) = model.describe()["warnings"]
    assert warning.startswith("device cuda:1 is not there")
    assert model.describe()["providers"] == ["CPUExecutionProvider"]
    assert [record.getMessage() for record in caplog.records] == [f"model 'net': {warning}"]


def test_a_required_device_that_is_not_there_is_an_error(file: Path) -> None:
    message = refusal(onnx_models.affine(file), device="cuda", device_required=True)

    assert "device cuda:0 is required and not there" in message


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_free_choice_of_device_warns_of_nothing(file: Path, device: str) -> None:
    assert loaded(onnx_models.affine(file), device=device).describe()["warnings"] == []


def test_a_model_describes_itself(file: Path) -> None:
    facts = loaded(onnx_models.affine(file)).describe()

    assert facts["platform"] == "onnx_onnxv1"
    assert facts["opset"] == {"ai.onnx": onnx_models.OPSET, "ai.onnx.ml": 3}
    assert facts["producer"] == "tests 1.5"
    assert json.loads(json.dumps(facts)) == facts


def test_a_closed_model_says_that_it_is_closed(file: Path) -> None:
    model = loaded(onnx_models.affine(file))

    model.close()

    with pytest.raises(NotReady, match="closed"):
        model.predict({"x": np.zeros((1, 4), dtype=np.float32)})


def test_the_graph_runs_the_same_without_optimization(file: Path) -> None:
    onnx_models.mlp(file)
    column = np.random.default_rng(1).random((5, 4), dtype=np.float32)

    plain = loaded(file, options={"graph_optimization": "none"}, threads=2).predict({"x": column})["y"]

    np.testing.assert_allclose(plain, loaded(file).predict({"x": column})["y"], rtol=1e-5, atol=1e-6)
