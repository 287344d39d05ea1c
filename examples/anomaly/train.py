"""How is the model of this workspace made?

Fits an isolation forest to the benign samples of scikit-learn's breast-cancer data, and writes it to
``models/anomaly-forest/1/model.skops``. It sees no malignant one: what it learns is what is usual. Takes seconds.
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).parent
MODEL = ROOT / "models" / "anomaly-forest" / "1" / "model.skops"
COLUMNS = {
    "worst radius": "radius",
    "worst texture": "texture",
    "worst smoothness": "smoothness",
    "worst concavity": "concavity",
}
"""The measurements that are used, each the mean of a sample's three largest cell nuclei, and their short names."""

SEED = 0


def samples() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The benign and the malignant samples: one row each, four measurements."""
    data = load_breast_cancer(as_frame=True)
    table = data.data[list(COLUMNS)].rename(columns=COLUMNS)
    return table[data.target == 1], table[data.target == 0]


def train(benign: pd.DataFrame) -> IsolationForest:
    """A fitted forest that takes about one benign sample in twenty for unusual. It keeps the names of the columns."""
    return IsolationForest(n_estimators=30, max_samples=64, contamination=0.05, random_state=SEED).fit(benign)


def unusual(model: IsolationForest, table: pd.DataFrame) -> str:
    """Which part of *table* the forest takes for unusual."""
    return f"{np.mean(model.predict(table) == -1):.0%} of {len(table)}"


def main() -> None:
    """Train, tell how good it is, and write the model."""
    benign, malignant = samples()
    seen, unseen = train_test_split(benign, test_size=0.3, random_state=SEED)
    model = train(seen)
    print(f"unusual: {unusual(model, unseen)} benign samples that it has not seen")
    print(f"unusual: {unusual(model, malignant)} malignant samples")
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, MODEL, compression=zipfile.ZIP_DEFLATED)
    print(f"wrote {MODEL.relative_to(ROOT)} ({MODEL.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
