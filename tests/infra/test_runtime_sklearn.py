"""Does a fitted estimator answer as it does by itself, whatever its format, its columns and its methods?"""

import json
import warnings
import zipfile
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler
from sklearn.svm import LinearSVC
from tests.infra import sklearn_models as models

from headrace import assembly
from headrace.domain.batch import Batch
from headrace.domain.errors import InvalidConfig, InvalidInput, NotReady
from headrace.domain.model_call import model_step
from headrace.domain.step import Context
from headrace.domain.tensors import TensorSpec
from headrace.infra.runtimes import load_model
from headrace.infra.runtimes.packages import framework
from headrace.infra.runtimes.sklearn import SklearnModel
from headrace.infra.runtimes.sklearn_files import SUFFIXES
from headrace.infra.runtimes.sklearn_outputs import METHODS

X = models.rows()
NEW = models.rows(seed=9, count=5)


def load(path: Path, **config: Any) -> SklearnModel:
    given = {"name": "net", "path": f"models/{path.name}", "device": "cpu", **config}
    model = load_model("sklearn", str(path), given)
    assert isinstance(model, SklearnModel)
    return model


def serve(estimator: Any, folder: Path, **config: Any) -> SklearnModel:
    """*estimator* by way of a file."""
    models.joblib(estimator, folder / "net.joblib")
    return load(folder / "net.joblib", trust=True, **config)


def ask(model: SklearnModel, rows: list[dict[str, Any]]) -> dict[str, Any]:
    answer = model_step(model, batched=True).run(Batch.from_rows(rows), Context())
    assert isinstance(answer, Batch)
    for error in answer.failures.values():
        raise error
    return {name: answer.columns[name] for name in model.get_output_spec()}


def refusal(path: Path, **config: Any) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(path, **config)
    assert caught.value.message.startswith(f"model 'net' (models/{path.name}): ")
    assert str(path.parent) not in caught.value.message
    return caught.value.message


# Formats


def test_a_pipeline_in_skops_answers_labels_and_probabilities(tmp_path: Path) -> None:
    fitted, path = models.written(models.classifier, tmp_path, "net.skops")

    model = load(path)
    answer = model.predict({"x": NEW})

    np.testing.assert_array_equal(answer["label"], fitted.predict(NEW))
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(NEW))
    assert model.get_input_spec() == {"x": TensorSpec("float64", (-1, 4), "x")}
    assert model.get_output_spec() == {
        "label": TensorSpec("int64", (-1,), "label"),
        "probabilities": TensorSpec("float64", (-1, 3), "probabilities"),
    }
    facts = dict(model.describe())
    assert facts == {
        "platform": "sklearn_skops", "estimator": "StandardScaler > LogisticRegression", "package": "sklearn",
        "methods": {"label": "predict", "probabilities": "predict_proba"}, "classes": [0, 1, 2], "warnings": [],
    }  # fmt: skip


def test_types_that_may_do_harm_are_named_and_want_trust(tmp_path: Path) -> None:
    fitted = models.skops(IsolationForest(n_estimators=3, random_state=0).fit(X), tmp_path / "net.skops")

    message = refusal(tmp_path / "net.skops")
    trusted = load(tmp_path / "net.skops", trust=True)

    assert "sklearn.tree._tree.Tree; if you trust who made it, say so with trust: true" in message
    np.testing.assert_allclose(trusted.predict({"x": NEW})["score"], fitted.score_samples(NEW))


@pytest.mark.parametrize("name", ["net.pkl", "net.joblib", "net.pickle", "net.bin"])
def test_a_pickle_is_never_read_without_trust(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("the pickle was read",))

    models.joblib(Bomb(), tmp_path / name)

    assert "a pickle can run any code when it is read; if you trust" in refusal(tmp_path / name)


def test_a_pickle_that_is_called_otherwise_is_refused_too(tmp_path: Path) -> None:
    models.joblib(LinearRegression(), tmp_path / "net.skops")

    assert "called .skops, which is skops, but holds pickle" in refusal(tmp_path / "net.skops", trust=True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.skops", b"", "the file is empty; it wants one of .skops, .pkl"),
        ("net.model", b"what is this?", "nothing tells the format of net.model"),
        ("net.skops", b"no zip file", "it cannot be read as skops: BadZipFile"),
        ("net.json", b'{"a": 1}', "it cannot be read as xgboost: XGBoostError"),
        ("net.txt", b"hello\n", "it cannot be read as lightgbm: LightGBMError"),
        ("net.pkl", b"\x80\x05damaged", "it cannot be read as pickle"),
    ],
)
def test_a_file_that_is_none_of_these_is_told_so(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)

    assert words in refusal(tmp_path / name, trust=True)


def test_what_is_no_estimator_is_told_so(tmp_path: Path) -> None:
    models.joblib({"weights": [1]}, tmp_path / "net.pkl")

    assert "it holds a dict, which is no estimator" in refusal(tmp_path / "net.pkl", trust=True)


def test_a_missing_file_and_a_folder_of_several_are_told(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "net.skops")
    (tmp_path / "net").mkdir()
    models.classifier(tmp_path / "net" / "a.skops")
    assert load(tmp_path / "net").get_output_spec()
    models.classifier(tmp_path / "net" / "b.skops")
    assert "there is: a.skops, b.skops" in refusal(tmp_path / "net")


@pytest.mark.parametrize("name", ["net.json", "net.ubj", "net"])
def test_boosters_of_xgboost_answer_as_they_do_there(tmp_path: Path, name: str) -> None:
    import xgboost

    fitted, path = models.written(models.xgboost, tmp_path, "net.ubj" if name == "net" else name)
    path = path.rename(tmp_path / name)

    answer = load(path).predict({"x": NEW.astype(np.float32)})

    expected = fitted.predict(xgboost.DMatrix(NEW))
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-6)
    np.testing.assert_array_equal(answer["label"], expected.argmax(axis=1))


@pytest.mark.parametrize(
    ("params", "outputs"),
    [
        ({"objective": "multi:softmax"}, {"label", "probabilities"}),
        ({"objective": "binary:logistic", "num_class": 0}, {"label", "probabilities"}),
        ({"objective": "reg:squarederror", "num_class": 0}, {"prediction"}),
        ({"objective": "reg:squarederror", "num_class": 0, "booster": "gblinear"}, {"prediction"}),
    ],
)
def test_the_objective_of_a_booster_says_what_it_answers(
    tmp_path: Path, params: dict[str, Any], outputs: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "signs", lambda rows: (rows[:, 0] > 0).astype(np.int64))
    fitted, path = models.written(partial(models.xgboost, **params), tmp_path, "net.json")

    answer = load(path).predict({"x": NEW.astype(np.float32)})

    assert answer.keys() == outputs
    if "prediction" in outputs:
        import xgboost

        np.testing.assert_allclose(answer["prediction"], fitted.predict(xgboost.DMatrix(NEW)), rtol=1e-6)


def test_early_stopping_of_xgboost_is_respected(tmp_path: Path) -> None:
    from xgboost import XGBClassifier

    fitted = XGBClassifier(n_estimators=40, early_stopping_rounds=1, learning_rate=1.0)
    fitted.fit(X[:60], X[:60, 0] > 0.3, eval_set=[(X[60:], X[60:, 1] > 0)], verbose=False)
    fitted.save_model(tmp_path / "net.json")

    answer = load(tmp_path / "net.json").predict({"x": NEW.astype(np.float32)})

    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(NEW), rtol=1e-6)


@pytest.mark.parametrize(("objective", "outputs"), [("binary", 2), ("regression", 0)])
def test_boosters_of_lightgbm_answer_as_they_do_there(tmp_path: Path, objective: str, outputs: int) -> None:
    fitted, path = models.written(partial(models.lightgbm, objective=objective), tmp_path, "net.txt")

    model = load(path)
    answer = model.predict({"x": NEW})

    found = answer["probabilities"][:, 1] if outputs else answer["prediction"]
    np.testing.assert_allclose(found, fitted.predict(NEW))
    assert model.describe()["platform"] == "lightgbm_text"


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("native", [True, False], ids=["native", "pickled"])
def test_boosters_read_pandas_categories_as_text(tmp_path: Path, library: str, native: bool) -> None:
    table = models.people()
    table["city"] = table.city.astype("category")
    if library == "xgboost":
        fitted = framework("xgboost").XGBClassifier(enable_categorical=True, n_estimators=4)
    else:
        fitted = framework("lightgbm").LGBMClassifier(n_estimators=4, verbosity=-1)
    fitted.fit(table, (models.buys(models.people()) == "yes").astype(int))
    if native and library == "xgboost":
        fitted.save_model(tmp_path / "net.json")
    elif native:
        fitted.booster_.save_model(tmp_path / "net.txt")
    else:
        models.joblib(fitted, tmp_path / "net.joblib")
    rows = models.people()[:3].to_dict("records")

    model = load(next(tmp_path.iterdir()), trust=True)
    answer = ask(model, rows)

    assert model.get_input_spec()["city"] == TensorSpec("string", (-1,), "city")
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(table[:3]), rtol=1e-6)


# Columns


def test_named_features_are_columns_of_their_types(tmp_path: Path) -> None:
    fitted, path = models.written(models.buyers, tmp_path, "net.skops")
    table = models.people(4)

    model = load(path)
    answer = ask(model, table.to_dict("records"))

    assert {name: str(spec) for name, spec in model.get_input_spec().items()} == {
        "age": "float64[?]", "city": "string[?]", "children": "float64[?]",
    }  # fmt: skip
    assert answer["label"] == fitted.predict(table).tolist()
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(table))
    assert model.describe()["classes"] == ["no", "yes"]


def test_a_category_that_was_never_seen_is_the_callers_fault(tmp_path: Path) -> None:
    _, path = models.written(models.buyers, tmp_path, "net.skops")

    with pytest.raises(InvalidInput, match=r"city.*Found unknown categories \['Rome'\]"):
        ask(load(path), [{"age": 40.0, "city": "Rome", "children": 1}])


def test_categories_that_pandas_made_are_texts(tmp_path: Path) -> None:
    table = models.people()
    typed = table.assign(city=table.city.astype("category"))
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(typed, models.buys(table))

    answer = ask(serve(fitted, tmp_path), table[:4].to_dict("records"))

    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(typed[:4]))


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=3, n_jobs=-1, random_state=0),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0, 2.0]}),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_named_numbers_need_no_table_and_no_warning(
    tmp_path: Path, estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame(X, columns=list("abcd"))
    fitted = estimator.fit(table, models.signs(X))
    expected = fitted.predict_proba(table[:3])
    models.joblib(fitted, tmp_path / "net.joblib")
    monkeypatch.setattr(pd.DataFrame, "__init__", lambda *given, **named: pytest.fail("made a table"))

    model = load(tmp_path / "net.joblib", trust=True)
    answer = ask(model, [dict(zip("abcd", row, strict=True)) for row in X[:3]])

    np.testing.assert_allclose(answer["probabilities"], expected)


def test_the_missing_of_a_named_column_is_told_by_name(tmp_path: Path) -> None:
    _, path = models.written(models.buyers, tmp_path, "net.skops")

    with pytest.raises(InvalidInput, match="column 'age' wants float64, not null"):
        ask(load(path), [{"age": None, "city": "Oslo", "children": 1}])


def test_one_column_for_all_named_features_may_be_asked_for(tmp_path: Path) -> None:
    table = pd.DataFrame(X, columns=list("abcd"))
    fitted = make_pipeline(StandardScaler(), LinearRegression()).fit(table, X[:, 0])
    by_name = make_pipeline(make_column_transformer((StandardScaler(), ["a", "b"])), LinearRegression())
    by_name.fit(table, X[:, 0])
    new = pd.DataFrame(NEW, columns=list("abcd"))
    expected = fitted.predict(new), by_name.predict(new)

    answers = [serve(one, tmp_path, options={"columns": "single"}).predict({"x": NEW}) for one in (fitted, by_name)]

    np.testing.assert_allclose(answers[0]["prediction"], expected[0])
    np.testing.assert_allclose(answers[1]["prediction"], expected[1])


def test_named_columns_cannot_be_asked_of_what_has_no_names(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")

    assert "columns: named wants an estimator that was fitted with the names" in refusal(
        path, options={"columns": "named"}
    )


def test_the_file_may_rename_a_single_column_and_state_its_type(tmp_path: Path) -> None:
    fitted, path = models.written(models.classifier, tmp_path, "net.skops")

    model = load(path, input_spec=[{"name": "features", "shape": [-1, 4], "dtype": "float32"}])

    assert model.get_input_spec() == {"features": TensorSpec("float32", (-1, 4), "features")}
    answer = model.predict({"features": NEW.astype(np.float32)})
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(NEW.astype(np.float32)))


def test_a_stated_width_that_the_estimator_does_not_have_is_refused(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")

    assert "shapes differ" in refusal(path, input_spec=[{"name": "x", "shape": [-1, 5], "dtype": "float64"}])


def test_a_vectorizer_reads_text(tmp_path: Path) -> None:
    fitted, path = models.written(models.sentences, tmp_path, "net.skops")

    answer = ask(load(path), [{"text": "good bread"}, {"text": "awful"}])

    assert answer["label"] == ["1", "0"]
    np.testing.assert_allclose(answer["probabilities"], fitted.predict_proba(["good bread", "awful"]))


def test_texts_inside_a_table_are_texts(tmp_path: Path) -> None:
    table = pd.DataFrame({"title": ["a good day", "a bad day"] * 9, "stars": [5.0, 1.0] * 9, "who": ["x", "y"] * 9})
    columns = make_column_transformer(
        (CountVectorizer(), "title"),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder()), ["who"]),
        remainder="passthrough",
    )
    fitted = make_pipeline(columns, LinearRegression()).fit(table, table.stars)

    model = serve(fitted, tmp_path)

    assert [spec.dtype for spec in model.get_input_spec().values()] == ["string", "float64", "string"]
    answer = ask(model, table[:2].to_dict("records"))["prediction"]
    np.testing.assert_allclose(answer, fitted.predict(table[:2]))


def test_categories_without_names_come_in_one_column(tmp_path: Path) -> None:
    texts = np.array([["red", "small"], ["blue", "large"]], dtype=object)
    mixed = np.array([["red", 1], ["blue", 2]], dtype=object)
    one, two = OneHotEncoder().fit(texts), OneHotEncoder().fit(mixed)

    (tmp_path / "two").mkdir()
    of_texts, of_mixed = serve(one, tmp_path), serve(two, tmp_path / "two")

    assert str(of_texts.get_input_spec()["x"]) == "string[?,2]"
    assert ask(of_texts, [{"x": ["red", "large"]}])["features"].tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert ask(of_mixed, [{"x": ["blue", 1]}])["features"].tolist() == [[1.0, 0.0, 1.0, 0.0]]
    with pytest.raises(InvalidInput, match="column 'x' wants 2 values in each row"):
        ask(of_mixed, [{"x": ["blue"]}])


# Methods


@pytest.mark.parametrize(
    ("estimator", "outputs"),
    [
        (LinearSVC(), {"label": "predict"}),
        (LinearRegression(), {"prediction": "predict"}),
        (KMeans(2, n_init=1), {"label": "predict"}),
        (PCA(2), {"features": "transform"}),
        (KernelDensity(), {"score": "score_samples"}),
        (IsolationForest(n_estimators=3), {"label": "predict", "score": "score_samples"}),
        (LocalOutlierFactor(novelty=True), {"label": "predict", "score": "score_samples"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_estimator_answers_what_it_is_for(tmp_path: Path, estimator: Any, outputs: dict[str, str]) -> None:
    fitted = estimator.fit(X, models.signs(X))

    answer = serve(fitted, tmp_path).predict({"x": NEW})

    assert answer.keys() == outputs.keys()
    for name, method in outputs.items():
        np.testing.assert_allclose(answer[name], getattr(fitted, method)(NEW))


@pytest.mark.parametrize(
    ("method", "column"),
    [("predict", "label"), ("predict_proba", "probabilities"), ("decision_function", "score")],
)
def test_the_method_may_be_chosen(tmp_path: Path, method: str, column: str) -> None:
    fitted, path = models.written(models.classifier, tmp_path, "net.skops")

    answer = load(path, options={"method": method}).predict({"x": NEW})

    assert list(answer) == [column]
    np.testing.assert_allclose(answer[column], getattr(fitted, method)(NEW))


def test_a_method_that_it_does_not_have_is_refused(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")

    assert "this Pipeline has no transform; it has predict, predict_proba, decision_function" in refusal(
        path, options={"method": "transform"}
    )
    assert "did you mean 'predict'?" in refusal(path, options={"method": "predct"})


def test_what_the_file_does_not_choose_is_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")
    output = [{"name": "probabilities", "shape": [-1, 3], "dtype": "float64"}]
    assert "'scores', which the artefact does not have" in refusal(path, output_spec=[{"name": "scores"}])
    monkeypatch.setattr(LogisticRegression, "predict", lambda self, rows: pytest.fail("computed"))

    model = load(path, output_spec=output)

    assert list(model.predict({"x": NEW})) == ["probabilities"]


def test_several_outputs_at_once_are_labels_of_several(tmp_path: Path) -> None:
    fitted = MultiOutputClassifier(LogisticRegression()).fit(X, (X[:, :2] > 0).astype(int))

    assert serve(fitted, tmp_path).predict({"x": NEW})["label"].tolist() == fitted.predict(NEW).tolist()  # type: ignore[union-attr]
    with pytest.raises(InvalidConfig, match="answers for several outputs at once"):
        serve(fitted, tmp_path, options={"method": "predict_proba"})


def test_sparse_answers_become_dense(tmp_path: Path) -> None:
    table = pd.DataFrame({"city": models.CITIES})

    answer = ask(serve(OneHotEncoder().fit(table), tmp_path), [{"city": "Oslo"}])

    assert answer["features"].tolist() == [[0.0, 0.0, 1.0]]


def test_a_trial_that_zeros_cannot_pass_asks_for_the_outputs(tmp_path: Path) -> None:
    fitted = PowerTransformer(method="box-cox").fit(np.abs(X) + 1)
    stated = [{"name": "features", "shape": [-1, 4], "dtype": "float64"}]

    model = serve(fitted, tmp_path, output_spec=stated)

    assert model.predict({"x": np.abs(NEW) + 1})["features"].shape == (5, 4)  # type: ignore[union-attr]
    assert "state output_spec, and it is not tried" in refusal(tmp_path / "net.joblib", trust=True)


# Safety and warnings


def test_the_callers_rows_stay_as_they_were(tmp_path: Path) -> None:
    fitted = make_pipeline(StandardScaler(copy=False), LinearRegression()).fit(X.copy(), X[:, 0])
    given = NEW.copy()

    serve(fitted, tmp_path).predict({"x": given})

    np.testing.assert_array_equal(given, NEW)


def test_nan_where_the_estimator_cannot_take_it_is_the_callers_fault(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")

    with pytest.raises(InvalidInput, match="x: Input X contains NaN"):
        load(path).predict({"x": np.full((1, 4), np.nan)})


def test_a_model_of_another_version_says_so_once_and_as_no_python_warning(tmp_path: Path) -> None:
    _, path = models.written(models.buyers, tmp_path, "net.skops")
    aged(path)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = load(path)

    now = sklearn.__version__
    said = f"saved by scikit-learn 0.1.2 and read by {now}: answers may differ; save it anew with {now}"
    assert seen == []
    assert model.describe()["warnings"] == [said]


def aged(path: Path) -> None:
    """Rewrite a skops file so that an old scikit-learn seems to have saved it."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    old = files["schema.json"].replace(json.dumps(json.dumps(sklearn.__version__)).encode(), b'"\\"0.1.2\\""')
    assert old != files["schema.json"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, "schema.json": old}.items():
            archive.writestr(name, content)


def test_no_estimator_takes_more_threads_than_the_file_says(tmp_path: Path) -> None:
    fitted = RandomForestClassifier(n_estimators=3, n_jobs=-1).fit(X, models.signs(X))

    model = serve(fitted, tmp_path, threads=2)

    assert model._estimator.n_jobs == 2


def doubled(rows: Any) -> Any:
    rows *= 2
    return rows


def test_code_that_is_not_the_librarys_gets_copies_and_runs_alone(tmp_path: Path) -> None:
    given = NEW.copy()

    model = serve(FunctionTransformer(doubled).fit(X.copy()), tmp_path)

    assert model._turn is not type(model)()._turn
    np.testing.assert_array_equal(model.predict({"x": given})["features"], NEW * 2)
    np.testing.assert_array_equal(given, NEW)


def test_a_closed_model_is_not_ready(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")
    model = load(path)

    model.close()

    with pytest.raises(NotReady):
        model.predict({"x": NEW})


def test_a_gpu_that_is_asked_for_is_a_warning(tmp_path: Path) -> None:
    _, path = models.written(models.classifier, tmp_path, "net.skops")

    assert load(path, device="cuda").describe()["warnings"] == [
        "device cuda:0 is not there (scikit-learn's models run on the CPU): running on the CPU"
    ]
    assert "is required and not there" in refusal(path, device="cuda", device_required=True)


# The page


def test_the_page_about_it_holds(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "bring-a-scikit-learn-model.md").read_text()
    declared = page.partition("```yaml\n")[2].partition("```")[0]
    for folder in ("config/models", "models/buyers/1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config" / "main.yaml").write_text("")
    (tmp_path / "config" / "models" / "buyers.yaml").write_text(dedent(declared))
    models.buyers(tmp_path / "models" / "buyers" / "1" / "model.skops")

    report = assembly.check(tmp_path / "config" / "main.yaml")

    assert report.mistakes == ()
    assert [name for name in (*SUFFIXES, *METHODS) if f"`{name}`" not in page] == []
