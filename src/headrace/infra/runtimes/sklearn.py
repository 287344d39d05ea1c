"""How does a trained estimator answer? scikit-learn's own, and the boosters of XGBoost and LightGBM."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np

from headrace.domain.errors import EngineError, InvalidConfig, InvalidInput, NotReady
from headrace.domain.model import ModelAdapter
from headrace.domain.parameters import check, signature
from headrace.domain.tensors import Array, Column, TensorSpec
from headrace.infra.runtimes.columns import agreed, declared, model_name
from headrace.infra.runtimes.devices import device_of, threads_of
from headrace.infra.runtimes.sklearn_files import read
from headrace.infra.runtimes.sklearn_inputs import Layout, Taken, taken
from headrace.infra.runtimes.sklearn_outputs import Calls, Method, as_column, ask, calls, spec_of
from headrace.infra.runtimes.sklearn_parts import (
    changes_its_rows,
    forget_names,
    is_known,
    package,
    reads_frames,
    set_threads,
)

REFUSALS: Final = ("Input ", "Found unknown categories", "could not convert string", "X has ", "Found array with")
"""How scikit-learn begins a complaint about values that stand in the rows, rather than about itself."""

log = logging.getLogger(__name__)


class SklearnModel(ModelAdapter):
    """A fitted estimator or pipeline.

    The file is skops (``.skops``), pickle or joblib (``.pkl``, ``.joblib``: with ``trust: true`` alone), XGBoost's
    (``.json``, ``.ubj``) or LightGBM's (``.txt``). An estimator that was fitted with named features takes a column for
    each, any other the one column ``x`` (``text``, where it begins with a vectorizer); the option ``columns`` is
    ``auto``, ``named`` or ``single``. The option ``method`` says what is called. ``auto`` answers ``label`` and
    ``probabilities`` of a classifier, ``prediction`` of a regressor, ``features`` of a transformer, ``label`` (1 or
    -1) and ``score`` (lower is stranger) of an outlier detector, ``label`` of a clusterer; ``output_spec`` may choose
    among these, and what is not chosen is not computed.
    """

    # Predicting only reads what fitting has learned: scikit-learn writes to an estimator in `fit` alone, XGBoost and
    # LightGBM promise it for the calls made here. Code that is not theirs runs one call at a time, under `_turn`.
    concurrent = True
    pure = True

    def __init__(self) -> None:
        self._estimator: Any = None
        self._taken = Taken({}, lambda inputs: None, {})
        self._calls: Calls = {}
        self._outputs: dict[str, TensorSpec] = {}
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._copies = False
        self._facts: dict[str, Any] = {"platform": "sklearn", "warnings": []}

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Read the file and try the estimator on a row. Raises InvalidConfig, which shows the path as configured."""
        shown = str(config.get("path") or Path(model_path).name)
        try:
            method, layout = _options(config)
            artefact = read(Path(model_path), trust=bool(config.get("trust")), threads=threads_of(config))
            self._estimator = artefact.estimator
            self._calls = calls(self._estimator, method)
            self._prepare(config, layout)
            self._outputs = self._found_outputs(declared(config, "output_spec"))
            warned = device_of(config).settle_for_cpu("scikit-learn's models run on the CPU")
        except EngineError as error:
            self.close()
            raise type(error)(f"{model_name(config)} ({shown}): {error.message}") from error
        self._calls = {name: self._calls[name] for name in self._outputs}
        self._facts = self._described(artefact.platform, [*artefact.warnings, *([warned] if warned else [])])
        for warning in self._facts["warnings"]:
            log.warning("%s: %s", model_name(config), warning)

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Call each method that an output stands for. Raises InvalidInput for values that the estimator refuses."""
        answers = self._asked(inputs, self._calls)
        return {name: as_column(answer, self._outputs[name]) for name, answer in answers.items()}

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """A column for each named feature, or one for all of them; number types as ``input_spec`` says."""
        return self._taken.specs

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The columns of the methods that are called, chosen by ``output_spec``."""
        return self._outputs

    def close(self) -> None:
        """Drop the estimator; a `predict` afterwards raises NotReady."""
        self._estimator = None

    def describe(self) -> Mapping[str, Any]:
        """Platform, estimator, the method behind each output, classes and warnings."""
        return self._facts

    def _prepare(self, config: Mapping[str, Any], layout: Layout) -> None:
        estimator = self._estimator
        self._taken = taken(estimator, declared(config, "input_spec"), layout)
        set_threads(estimator, threads_of(config))
        if not reads_frames(estimator):
            forget_names(estimator)
        self._turn = nullcontext() if is_known(estimator) else threading.Lock()
        self._copies = len(self._taken.specs) == 1 and changes_its_rows(estimator)

    def _asked(self, inputs: Mapping[str, Column], wanted: Calls) -> dict[str, Array]:
        if self._estimator is None:
            raise NotReady("the model is closed")
        rows = self._taken.arrange(inputs)
        try:
            with self._turn:
                return {name: ask(self._estimator, method, self._own(rows)) for name, method in wanted.items()}
        except ValueError as error:
            if str(error).startswith(REFUSALS):
                raise InvalidInput(f"{', '.join(inputs)}: {str(error).splitlines()[0]}") from error
            raise

    def _own(self, rows: Any) -> Any:
        """*rows* themselves, or a copy for an estimator that might write into them."""
        return rows.copy() if self._copies and isinstance(rows, np.ndarray) else rows

    def _found_outputs(self, stated: Mapping[str, TensorSpec] | None) -> dict[str, TensorSpec]:
        """What one row is answered with tells the types and shapes; *stated* outputs are chosen, and narrowed."""
        wanted = {name: call for name, call in self._calls.items() if stated is None or name in stated}
        sample = {
            name: np.array(values, self._taken.specs[name].dtype) if self._taken.specs[name].numeric else values
            for name, values in self._taken.sample.items()
        }
        try:
            answers = self._asked(sample, wanted or self._calls)
        except Exception as error:  # of a trial with made-up values nothing is certain but that it failed
            if stated is not None and stated.keys() <= self._calls.keys():
                return dict(stated)
            said = f"{type(error).__name__}: {str(error)[:300]}"
            raise InvalidConfig(
                f"a trial with one row failed ({said}); state output_spec, and it is not tried"
            ) from error
        return agreed(stated, {name: spec_of(name, answer) for name, answer in answers.items()}, "output_spec")

    def _described(self, platform: str, warnings: list[str]) -> dict[str, Any]:
        estimator = self._estimator
        classes = getattr(estimator, "classes_", None)
        steps = [type(step).__name__ for _, step in getattr(estimator, "steps", ())]
        return {
            "platform": platform,
            "estimator": " > ".join(steps) or type(estimator).__name__,
            "package": package(estimator),
            "methods": dict(self._calls),
            **({"classes": classes.tolist()} if isinstance(classes, np.ndarray) else {}),
            "warnings": warnings,
        }


def _options(config: Mapping[str, Any]) -> tuple[Method, Layout]:
    values, problems = check(signature(_chosen), config.get("options") or {})
    if problems:
        raise InvalidConfig("options: " + "; ".join(problem.message for problem in problems))
    return _chosen(**values)


def _chosen(*, method: Method = "auto", columns: Layout = "auto") -> tuple[Method, Layout]:
    return method, columns
