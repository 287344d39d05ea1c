"""Small fitted estimators, written in each format that the runtime reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CITIES = ("Bergen", "Oslo", "Molde")
Rows = NDArray[np.float64]


def rows(seed: int = 0, count: int = 120) -> Rows:
    """Four numbers in each row, a little apart from zero so that no tree splits where a test asks."""
    return np.random.default_rng(seed).normal(size=(count, 4))


def signs(given: Rows) -> NDArray[np.int64]:
    """Which of three classes the first two numbers of each row make."""
    return (given[:, 0] > 0).astype(np.int64) + (given[:, 1] > 0)


def people(count: int = 90) -> pd.DataFrame:
    """A table with a number, a text and an integer in each row."""
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "age": random.uniform(18, 80, count),
            "city": random.choice(CITIES, count),
            "children": random.integers(0, 4, count),
        }
    )


def buys(table: pd.DataFrame) -> NDArray[Any]:
    """Whether each of *people* buys, as ``no`` or ``yes``."""
    return np.where((table.age > 50) ^ (table.city == "Oslo"), "yes", "no")


def skops(estimator: Any, path: Path) -> Any:
    """Write *estimator* as skops; return it."""
    import skops.io

    skops.io.dump(estimator, path)
    return estimator


def joblib(estimator: Any, path: Path) -> Any:
    """Write *estimator* as joblib does; return it."""
    import joblib

    joblib.dump(estimator, path)
    return estimator


def classifier(path: Path) -> Any:
    """A classifier of three classes with a scaler before it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return skops(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows(), signs(rows())), path)


def outliers(path: Path) -> Any:
    """A forest that finds outliers."""
    from sklearn.ensemble import IsolationForest

    return joblib(IsolationForest(n_estimators=5, random_state=0).fit(rows()), path)


def buyers(path: Path) -> Any:
    """A classifier on a table with categories, of which a column transformer makes numbers."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = people()
    columns = make_column_transformer((OneHotEncoder(), ["city"]), (StandardScaler(), ["age", "children"]))
    return skops(make_pipeline(columns, LogisticRegression()).fit(table, buys(table)), path)


def sentences(path: Path) -> Any:
    """A classifier of texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good soup", "nice soup", "bad soup", "awful bread", "good bread", "bad day"]
    return skops(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, list("110010")), path)


def xgboost(path: Path, **params: Any) -> Any:
    """Boosted trees of XGBoost in its own format, by default of three classes."""
    import xgboost

    model = xgboost.train({"objective": "multi:softprob", "num_class": 3, **params},
                          xgboost.DMatrix(rows(), signs(rows())), 3)  # fmt: skip
    model.save_model(path)
    return model


def lightgbm(path: Path, **params: Any) -> Any:
    """Boosted trees of LightGBM in its own format, by default a regression."""
    import lightgbm

    data = lightgbm.Dataset(rows(), signs(rows()))
    model = lightgbm.train({"objective": "regression", "verbosity": -1, **params}, data, 3)
    model.save_model(path)
    return model


def written(make: Callable[[Path], Any], folder: Path, name: str) -> tuple[Any, Path]:
    """What *make* fitted, and the file that it wrote."""
    path = folder / name
    return make(path), path
