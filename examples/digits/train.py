"""How is the model of this workspace made?

Trains a small neural network on scikit-learn's 1,797 pictures of handwritten digits, writes it to
``models/digits-mlp/1/model.onnx``, and a few pictures that it has not seen to ``examples/``. Takes a few seconds.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

ROOT = Path(__file__).parent
MODEL = ROOT / "models" / "digits-mlp" / "1" / "model.onnx"
PICTURES = ROOT / "examples"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OPSET = 17
SEED = 0

Grey = NDArray[np.uint8]


def grey_levels() -> tuple[Grey, NDArray[np.int64]]:
    """All pictures as 8-bit grey levels, shape (1797, 8, 8), and the digits that they show.

    The data set has 17 levels. They are spread over 0 to 255 here, as a PNG stores them, so that a picture read from
    a file holds exactly the numbers that the model was trained on.
    """
    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target


def as_pixels(levels: Grey) -> NDArray[np.float32]:
    """What the model reads: one row of 64 numbers between 0 and 1 for each picture."""
    return levels.reshape(-1, 64).astype(np.float32) / np.float32(255)


def train(levels: Grey, digits: NDArray[np.int64]) -> MLPClassifier:
    """A fitted network with one hidden layer; all its numbers are float32, as they are in the ONNX file."""
    model = MLPClassifier(
        hidden_layer_sizes=(64,), alpha=0.1, learning_rate_init=0.005, max_iter=400, random_state=SEED
    )
    return model.fit(as_pixels(levels), digits)


def export(model: MLPClassifier) -> bytes:
    """The network as ONNX: ``pixels`` (n, 64) in, ``probabilities`` (n, 10) out, both float32."""
    whole: Any = to_onnx(
        model,
        initial_types=[("pixels", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    chosen: Any = select_model_inputs_outputs(whole, outputs=["probabilities"])
    used = {name for node in chosen.graph.node for name in node.input}
    for left in [item for item in chosen.graph.initializer if item.name not in used]:
        chosen.graph.initializer.remove(left)  # ONNX Runtime warns about what only the labels needed
    return bytes(chosen.SerializeToString())


def write_pictures(model: MLPClassifier, levels: Grey, digits: NDArray[np.int64]) -> None:
    """Write one PNG for each digit: of those held out, the one of which the model is as sure as of most."""
    PICTURES.mkdir(exist_ok=True)
    sure = model.predict_proba(as_pixels(levels))
    for digit, name in enumerate(NAMES):
        shown = np.flatnonzero(digits == digit)
        typical = shown[np.argsort(sure[shown, digit])[len(shown) // 2]]
        Image.fromarray(levels[typical]).save(PICTURES / f"{name}.png")


def main() -> None:
    """Train, tell how good it is, and write what the workspace needs."""
    levels, digits = grey_levels()
    seen, unseen, seen_digits, unseen_digits = train_test_split(
        levels, digits, test_size=0.2, random_state=SEED, stratify=digits
    )
    model = train(seen, seen_digits)
    right = model.score(as_pixels(unseen), unseen_digits)
    print(f"{right:.1%} of {len(unseen)} pictures that it has not seen are classified correctly")
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    MODEL.write_bytes(export(model))
    print(f"wrote {MODEL.relative_to(ROOT)} ({MODEL.stat().st_size / 1000:.0f} kB)")
    write_pictures(model, unseen, unseen_digits)
    print(f"wrote {len(NAMES)} pictures to {PICTURES.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
