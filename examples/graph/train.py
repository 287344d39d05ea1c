"""How is the model of this workspace made?

Trains a graph convolutional network (Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional
Networks", 2017) of two layers on Zachary's karate club (W. W. Zachary, "An Information Flow Model for Conflict and
Fission in Small Groups", 1977), whose members took sides with the instructor or with the officer. NumPy and gradient
descent are all it takes. Writes ``models/graph-network/1/model.onnx`` and ``examples/karate.json`` in seconds.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

ROOT = Path(__file__).parent
MODEL = ROOT / "models" / "graph-network" / "1" / "model.onnx"
CLUB = ROOT / "examples" / "karate.json"

MEMBERS = 34
INSTRUCTOR, OFFICER = 0, 33
TIES = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
"""The 78 friendships of figure 1 of Zachary's paper, with members counted from 0, each at its lower number."""

WITH_INSTRUCTOR = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21)
"""Who followed the instructor when the club split; the other half followed the officer."""

HIDDEN = 16
STEPS = 600
LEARNING_RATE = 0.5
OPSET = 17
SEED = 0

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """Two layers, each a matrix and an offset."""

    first: Numbers
    first_offset: Numbers
    second: Numbers
    second_offset: Numbers

    def after(self, slope: "Weights") -> "Weights":
        """One step down the *slope*."""
        pairs = zip(vars(self).values(), vars(slope).values(), strict=True)
        return Weights(*(weight - LEARNING_RATE * down for weight, down in pairs))


def adjacency() -> Numbers:
    """Who is tied to whom: 1 or 0, shape (34, 34)."""
    ties = np.zeros((MEMBERS, MEMBERS))
    for one, others in TIES.items():
        ties[one, list(others)] = ties[list(others), one] = 1
    return ties


def sides() -> Numbers:
    """Each member's side, shape (34, 2): with the instructor, with the officer."""
    with_instructor = np.isin(np.arange(MEMBERS), WITH_INSTRUCTOR)
    return np.stack([with_instructor, ~with_instructor], axis=1).astype(float)


def normalised(ties: Numbers) -> Numbers:
    """The matrix by which a layer averages over a member and its friends (equation 2 of Kipf and Welling)."""
    with_self = ties + np.eye(len(ties))
    scale = 1 / np.sqrt(with_self.sum(axis=1))
    return scale[:, None] * with_self * scale[None, :]


def hidden(weights: Weights, average: Numbers, features: Numbers) -> Numbers:
    """What the first layer makes of *features*, shape (members, 16)."""
    return np.maximum(average @ features @ weights.first + weights.first_offset, 0)


def probabilities(weights: Weights, average: Numbers, features: Numbers) -> Numbers:
    """The side of each member, shape (members, 2)."""
    scores = average @ hidden(weights, average, features) @ weights.second + weights.second_offset
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def slope(weights: Weights, average: Numbers, features: Numbers, wanted: Numbers, counted: Numbers) -> Weights:
    """The derivative of the cross-entropy, over the members *counted*, by each weight."""
    inner = hidden(weights, average, features)
    error = (probabilities(weights, average, features) - wanted) * counted[:, None] / counted.sum()
    error_inner = (average @ error @ weights.second.T) * (inner > 0)
    return Weights(
        (average @ features).T @ error_inner, error_inner.sum(axis=0),
        (average @ inner).T @ error, error.sum(axis=0),
    )  # fmt: skip


def train(features: Numbers, known: NDArray[np.bool_]) -> Weights:
    """A network that has learned from the sides of the *known* members alone."""
    average, random = normalised(adjacency()), np.random.default_rng(SEED)
    weights = Weights(
        random.normal(size=(2, HIDDEN)), np.zeros(HIDDEN), random.normal(size=(HIDDEN, 2)) / HIDDEN, np.zeros(2)
    )
    for _ in range(STEPS):
        weights = weights.after(slope(weights, average, features, sides(), known.astype(float)))
    return weights


def export(weights: Weights) -> ModelProto:
    """The network as ONNX: `features` (n, 2) and `adjacency` (n, n) in, `probabilities` (n, 2) out, all float32."""
    nodes = [
        helper.make_node("EyeLike", ["adjacency"], ["self"]),
        helper.make_node("Add", ["adjacency", "self"], ["with_self"]),
        helper.make_node("ReduceSum", ["with_self", "last"], ["degree"], keepdims=1),
        helper.make_node("Sqrt", ["degree"], ["root"]),
        helper.make_node("Transpose", ["root"], ["root_across"]),
        helper.make_node("Div", ["with_self", "root"], ["by_row"]),
        helper.make_node("Div", ["by_row", "root_across"], ["average"]),
        helper.make_node("MatMul", ["average", "features"], ["first_average"]),
        helper.make_node("Gemm", ["first_average", "first", "first_offset"], ["first_scores"]),
        helper.make_node("Relu", ["first_scores"], ["hidden"]),
        helper.make_node("MatMul", ["average", "hidden"], ["second_average"]),
        helper.make_node("Gemm", ["second_average", "second", "second_offset"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    kept = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in vars(weights).items()]
    kept.append(numpy_helper.from_array(np.array([1]), "last"))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in columns.items()]
        for columns in (
            {"features": ["members", 2], "adjacency": ["members", "members"]},
            {"probabilities": ["members", 2]},
        )
    )
    graph = helper.make_graph(nodes, "graph-network", inputs, outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(model)
    return model


def main() -> None:
    """Train, tell how good it is, and write the model and a request about the whole club."""
    leaders = np.isin(np.arange(MEMBERS), (INSTRUCTOR, OFFICER))
    features = sides() * leaders[:, None]
    weights = train(features, leaders)
    found = probabilities(weights, normalised(adjacency()), features).argmax(axis=1)
    right = (found == sides().argmax(axis=1))[~leaders].sum()
    print(f"told of the two leaders alone, it puts {right} of the {MEMBERS - 2} others on the right side")
    request = {"features": features.astype(int).tolist(), "adjacency": adjacency().astype(int).tolist()}
    for file, content in (
        (MODEL, export(weights).SerializeToString()),
        (CLUB, (json.dumps(request, separators=(",", ":")) + "\n").encode()),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        print(f"wrote {file.relative_to(ROOT)} ({len(content) / 1000:.1f} kB)")


if __name__ == "__main__":
    main()
