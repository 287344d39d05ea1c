"""Small ONNX files for tests: each function writes one and returns its path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9

AFFINE_WEIGHTS = (np.arange(12, dtype=np.float32).reshape(4, 3) - 5) / 4
AFFINE_BIAS = np.array([0.5, -1.0, 2.0], dtype=np.float32)

Axis = int | str
Shape = Sequence[Axis] | None


def tensor(name: str, kind: int, shape: Shape) -> Any:
    """An input or output; a name in *shape* is a symbolic axis, a shape of None is unknown."""
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    weights: Sequence[Any] = (),
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    external: str | None = None,
) -> Path:
    """Write a model of these parts; *external* names a file beside it for the weights."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, producer_name="tests", producer_version="1.5"
    )
    if external is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    return path


def affine(path: Path, *, batch: Axis = "batch", external: str | None = None) -> Path:
    """``x`` float32 [batch, 4] -> ``y`` float32 [batch, 3]: x @ AFFINE_WEIGHTS + AFFINE_BIAS."""
    weights = [numpy_helper.from_array(AFFINE_WEIGHTS, "weights"), numpy_helper.from_array(AFFINE_BIAS, "bias")]
    return save(
        path,
        [helper.make_node("Gemm", ["x", "weights", "bias"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [batch, 4])],
        [tensor("y", TensorProto.FLOAT, [batch, 3])],
        weights=weights,
        external=external,
    )


def affine_answer(x: Any) -> Any:
    """What `affine` answers."""
    return np.asarray(x, dtype=np.float32) @ AFFINE_WEIGHTS + AFFINE_BIAS


def mlp(path: Path, sizes: Sequence[int] = (4, 16, 16, 3)) -> Path:
    """``x`` float32 [batch, first] -> ``y`` float32 [batch, last] through layers with ReLU between them."""
    random = np.random.default_rng(0)
    nodes, weights, current = [], [], "x"
    for layer, (rows, columns) in enumerate(pairwise(sizes)):
        matrix = (random.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights += [numpy_helper.from_array(matrix, f"w{layer}")]
        last = layer == len(sizes) - 2
        nodes.append(helper.make_node("MatMul", [current, f"w{layer}"], ["y" if last else f"product{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"product{layer}"], [f"hidden{layer}"]))
        current = f"hidden{layer}"
    inputs = [tensor("x", TensorProto.FLOAT, ["batch", sizes[0]])]
    return save(path, nodes, inputs, [tensor("y", TensorProto.FLOAT, ["batch", sizes[-1]])], weights=weights)


def identity(path: Path, kind: int = TensorProto.FLOAT, shape: Shape = ("batch", 2), *, opset: int = OPSET) -> Path:
    """``x`` of any type and shape -> ``y``, the same."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ir_version = 11 if opset > OPSET else IR_VERSION
    return save(path, nodes, [tensor("x", kind, shape)], [tensor("y", kind, shape)], opset=opset, ir_version=ir_version)


def unbatched(path: Path) -> Path:
    """``x`` float32 [4] and ``scale`` float32 [] -> ``y`` float32 [4]: x * scale; no batch axis."""
    return save(
        path,
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [4]), tensor("scale", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, [4])],
    )


def row_sums(path: Path) -> Path:
    """``x`` float32 [batch, length] -> ``total`` float32 [batch] and ``twice`` float32 [batch, length]."""
    return save(
        path,
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
            helper.make_node("Add", ["x", "x"], ["twice"]),
        ],
        [tensor("x", TensorProto.FLOAT, ["batch", "length"])],
        [tensor("total", TensorProto.FLOAT, ["batch"]), tensor("twice", TensorProto.FLOAT, ["batch", "length"])],
        weights=[numpy_helper.from_array(np.array([1]), "axis")],
    )


def masked(path: Path, index: str = "") -> Path:
    """``values`` and ``mask`` float32 [batch, length] -> ``kept`` float32 [batch, length]: one times the other.

    With *index* there is an input of that name, int64 [batch], of rows of ``values`` that are looked at in vain.
    """
    shape = ["batch", "length"]
    nodes = [helper.make_node("Mul", ["values", "mask"], ["kept"])]
    inputs = [tensor("values", TensorProto.FLOAT, shape), tensor("mask", TensorProto.FLOAT, shape)]
    outputs = [tensor("kept", TensorProto.FLOAT, shape)]
    if index:
        nodes.append(helper.make_node("Gather", ["values", index], ["seen"]))
        inputs.append(tensor(index, TensorProto.INT64, ["batch"]))
        outputs.append(tensor("seen", TensorProto.FLOAT, shape))
    return save(path, nodes, inputs, outputs)


def lookup(path: Path) -> Path:
    """``index`` int64 [batch] -> ``value`` float32 [batch] of three values; raises for an index beyond them."""
    return save(
        path,
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        [tensor("index", TensorProto.INT64, ["batch"])],
        [tensor("value", TensorProto.FLOAT, ["batch"])],
        weights=[numpy_helper.from_array(np.array([1, 2, 3], dtype=np.float32), "table")],
    )


def brittle(path: Path) -> Path:
    """``x`` float32 [batch, width] -> ``y``: adds three values, and fails inside for any other width."""
    return save(
        path,
        [helper.make_node("Add", ["x", "three"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["batch", "width"])],
        [tensor("y", TensorProto.FLOAT, ["batch", "width"])],
        weights=[numpy_helper.from_array(np.zeros(3, dtype=np.float32), "three")],
    )


def sequence_output(path: Path) -> Path:
    """``x`` float32 [batch] -> ``y``, a sequence of tensors, and ``z`` float32 [batch]."""
    return save(
        path,
        [helper.make_node("SequenceConstruct", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])],
        [tensor("x", TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None),
            tensor("z", TensorProto.FLOAT, ["batch"]),
        ],
    )


def sequence_input(path: Path) -> Path:
    """``x``, a sequence of tensors -> ``y`` int64 []: its length."""
    return save(
        path,
        [helper.make_node("SequenceLength", ["x"], ["y"])],
        [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)],
        [tensor("y", TensorProto.INT64, [])],
    )


def optional_input(path: Path) -> Path:
    """``x``, an optional tensor -> ``y`` bool []: whether it is there."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    nodes = [helper.make_node("OptionalHasElement", ["x"], ["y"])]
    return save(path, nodes, [helper.make_value_info("x", kind)], [tensor("y", TensorProto.BOOL, [])])


def zipmap_output(path: Path) -> Path:
    """``x`` float32 [batch, 2] -> ``y``, a sequence of maps, as converted scikit-learn classifiers give it."""
    nodes = [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])]
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, value))
    return save(path, nodes, [tensor("x", TensorProto.FLOAT, ["batch", 2])], [helper.make_value_info("y", kind)])
