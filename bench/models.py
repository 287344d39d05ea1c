"""The three models that every server in the bench runs, built from nothing but a seed (minilm: from a package)."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench import venvs

HOME = Path(__file__).parents[1] / "build" / "bench"
TINY_INPUT = 4
TABLE_COLUMNS = 8
MEDIUM_INPUT = 784


def tiny() -> Path:
    """An MLP 4-16-16-3: the server around it is all there is to measure."""
    return _mlp("tiny", [TINY_INPUT, 16, 16, 3])


def tiny_table() -> Path:
    """The same for rows of a table: an MLP 8-16-16-3."""
    return _mlp("tiny-table", [TABLE_COLUMNS, 16, 16, 3])


def medium() -> Path:
    """An MLP 784-2048-2048-10, 23 MB: batching and parsing matter as much as the model."""
    return _mlp("medium", [MEDIUM_INPUT, 2048, 2048, 10])


def wide() -> Path:
    """The mean of a 224x224x3 float image: nearly all of the time is the body."""
    path = HOME / "models" / "image.onnx"
    if not path.exists():
        shape: list[str | int] = ["n", 224, 224, 3]
        graph = helper.make_graph(
            [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)],
            "image",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        )
        _save(graph, path)
    return path


def minilm() -> Path:
    """The real all-MiniLM-L6-v2 with mean pooling and unit length in the graph, and its tokenizer beside it.

    Its weights come from a package; the first call makes an environment with torch and exports them. Raises
    NotInstalled when that environment cannot be made, RuntimeError when the export fails.
    """
    folder = HOME / "models" / "minilm"
    if not (folder / "tokenizer.json").exists():
        command = [venvs.export(), venvs.EXPORT / "minilm.py", folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the export of minilm failed: {done.stderr.strip()[-300:]}")
    return folder / "model.onnx"


def _mlp(name: str, sizes: list[int]) -> Path:
    path = HOME / "models" / f"{name}.onnx"
    if path.exists():
        return path
    random = np.random.default_rng(20)
    nodes, weights, last = [], [], "x"
    for layer, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        weight = random.normal(0, (2 / rows) ** 0.5, (rows, columns)).astype(np.float32)
        weights += [
            numpy_helper.from_array(weight, f"w{layer}"),
            numpy_helper.from_array(np.zeros(columns, np.float32), f"b{layer}"),
        ]
        end = layer == len(sizes) - 2
        out = "y" if end else f"h{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out if end else f"g{layer}"]))
        if not end:
            nodes.append(helper.make_node("Relu", [f"g{layer}"], [out]))
        last = out
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", sizes[-1]])],
        weights,
    )
    _save(graph, path)
    return path


def _save(graph: onnx.GraphProto, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
