"""Is everything told that does not fit, and nothing that only follows from something else?"""

from typing import Any

from headrace.domain.doctor import Diagnosis, diagnose
from headrace.domain.fit import StepUse
from headrace.domain.step import step, step_type
from headrace.domain.steps import labels
from headrace.domain.tensors import TEXT, TensorSpec

FLOATS = TensorSpec("float32", (-1, 2))
X = {"x": FLOATS}
Y = {"y": FLOATS}


def double(x: Any, *, times: int = 2) -> Any:
    return x


@step(writes={"x": TEXT})
def spell(x: Any) -> Any:
    return x


@step(reads={"text": TEXT}, writes={"x": FLOATS})
def embed(text: Any, *, size: int = 2) -> Any:
    return text


@step(reads=("y",), writes={"label": TEXT})
def label(y: Any, *, k: int = 1) -> Any:
    return y


@step(reads=("x",), writes={"a": FLOATS, "b": FLOATS})
def spread(x: Any) -> Any:
    return {"a": x, "b": x}


def broken_flow(reads: Any) -> Any:
    raise KeyError("size")


@step(flow=broken_flow)
def fails(x: Any) -> Any:
    return x


def use(function: Any, **params: Any) -> StepUse:
    return StepUse(function.__name__, step_type(function), params)


def told(found: Diagnosis) -> list[tuple[str, int, str]]:
    return [(problem.part, problem.index, problem.problem.key) for problem in found.problems]


def test_a_sound_pipeline_has_its_inputs_known() -> None:
    found = diagnose([use(embed)], X, Y, [use(label)], ["label"])

    assert told(found) == []
    assert found.inputs is not None
    assert list(found.inputs) == ["text"]


def test_every_step_s_parameters_are_told() -> None:
    found = diagnose([use(double, tims=1), use(embed, size="big")], X, Y, [use(label, kk=1)], ["label"])

    assert told(found) == [
        ("preprocessing", 0, "tims"),
        ("preprocessing", 1, "size"),
        ("postprocessing", 0, "kk"),
    ]


def test_a_step_that_fails_leaves_the_columns_it_would_have_written() -> None:
    found = diagnose([], X, Y, [use(label, kk=1)], ["label"])

    assert told(found) == [("postprocessing", 0, "kk")]


def test_the_model_s_input_is_not_told_when_a_step_before_it_fails() -> None:
    found = diagnose([use(spell, loud=True)], X, Y, [])

    assert told(found) == [("preprocessing", 0, "loud")]


def test_the_model_s_input_and_an_output_are_told_together() -> None:
    found = diagnose([use(spell)], X, Y, [], ["z"])

    assert told(found) == [("model", 0, "x"), ("outputs", 0, "z")]


def test_after_an_unknown_step_only_parameters_are_told() -> None:
    found = diagnose([None, use(double, tims=1)], X, Y, [use(label, kk=1)], ["nothing"])

    assert told(found) == [("preprocessing", 1, "tims"), ("postprocessing", 0, "kk")]
    assert found.inputs is None


def test_a_step_whose_own_declaration_raises_is_told_by_name() -> None:
    found = diagnose([use(double), use(fails)], X, Y, [use(label, kk=1)])

    assert told(found) == [("preprocessing", 1, "params"), ("postprocessing", 0, "kk")]
    assert "'fails' cannot be bound: KeyError" in found.problems[0].problem.message


def test_without_the_model_s_columns_nothing_is_guessed() -> None:
    found = diagnose([use(double)], None, None, [use(label)], ["label", "anything"])

    assert told(found) == []
    assert found.inputs is None


def test_a_flexible_step_after_a_model_that_is_not_read_yet_means_what_that_will_write() -> None:
    found = diagnose([use(double), use(spread)], X, None, [use(labels.argmax)])

    assert told(found) == []
