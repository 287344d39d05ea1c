"""How is the model of this workspace made?

Fits a logistic regression to the 150 irises that scikit-learn ships, and writes it to
``models/iris-logistic/1/model.onnx``. Takes a second or two.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

ROOT = Path(__file__).parent
MODEL = ROOT / "models" / "iris-logistic" / "1" / "model.onnx"
OPSET = 17
SEED = 0


def train(lengths: NDArray[np.float32], kinds: NDArray[np.int64]) -> Pipeline:
    """A fitted classifier of rows of four lengths, in centimetres."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(lengths, kinds)


def export(model: Pipeline) -> bytes:
    """The classifier as ONNX: ``features`` (n, 4) in, ``probabilities`` (n, 3) out, both float32."""
    whole: Any = to_onnx(
        model,
        initial_types=[("features", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset=OPSET,
    )
    return bytes(select_model_inputs_outputs(whole, outputs=["probabilities"]).SerializeToString())


def main() -> None:
    """Train, tell how good it is, and write the model."""
    lengths, kinds = load_iris(return_X_y=True)
    seen, unseen, seen_kinds, unseen_kinds = train_test_split(
        lengths.astype(np.float32), kinds, test_size=0.2, random_state=SEED, stratify=kinds
    )
    model = train(seen, seen_kinds)
    right = model.score(unseen, unseen_kinds)
    print(f"{right:.1%} of {len(unseen)} irises that it has not seen are classified correctly")
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    MODEL.write_bytes(export(model))
    print(f"wrote {MODEL.relative_to(ROOT)} ({MODEL.stat().st_size / 1000:.1f} kB)")


if __name__ == "__main__":
    main()
