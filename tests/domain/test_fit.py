"""Do the steps and the model fit together? What a pipeline takes and gives, and every reason why it cannot be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from headrace.domain.fit import Plan, StepUse, compose
from headrace.domain.step import step, step_type
from headrace.domain.tensors import TensorSpec

FLOAT = TensorSpec("float32", (-1, 4))
TEXT = TensorSpec("string", (-1,))


@step(reads={"text": TEXT}, writes={"ids": TensorSpec("int64", (-1, -1))})
def tokenize(text: Any, *, limit: int = 10) -> Any:
    """Texts to numbers."""


@step(reads={"tensor": TensorSpec("number", None)}, flow=lambda reads: {"tensor": reads["tensor"]}, flexible=True)
def scale(tensor: Any) -> Any:
    """Any one column of numbers."""


@step(reads={"logits": FLOAT}, writes={"label": TEXT})
def label(logits: Any, *, names: list[str] = []) -> Any:  # noqa: B006
    """Numbers to a label."""


def _renamed(reads: Mapping[str, TensorSpec], **names: str) -> dict[str, TensorSpec | None]:
    return {**dict.fromkeys(names), **{new: reads[old] for old, new in names.items()}}  # type: ignore[arg-type]


@step(reads=lambda **names: dict.fromkeys(names, TensorSpec("any", None)), writes=(), flow=_renamed)
def rename(batch: Any, /, **names: str) -> Any:
    """Other names for columns."""


def use(
    function: Callable[..., Any], params: Mapping[str, Any] | None = None, columns: Mapping[str, str] | None = None
) -> StepUse:
    return StepUse(function.__name__, step_type(function), params or {}, columns or {})


def plan(
    before: Sequence[StepUse] = (),
    takes: Mapping[str, TensorSpec] | None = None,
    gives: Mapping[str, TensorSpec] | None = None,
    after: Sequence[StepUse] = (),
    outputs: Sequence[str] | None = None,
) -> Plan:
    return compose(before, takes, gives, after, outputs)


def problems(made: Plan) -> list[tuple[str, int, str]]:
    return [(found.part, found.index, found.problem.message) for found in made.problems]


IDS = {"ids": TensorSpec("int64", (-1, -1))}
LOGITS = {"logits": FLOAT}


def test_inputs_are_what_nobody_wrote_and_outputs_what_the_model_and_later_steps_did() -> None:
    made = plan([use(tokenize)], {**IDS, "mask": FLOAT}, LOGITS, [use(label)])

    assert problems(made) == []
    assert {name: str(spec) for name, spec in made.inputs.items()} == {"text": "string[?]", "mask": "float32[?,4]"}
    assert list(made.outputs) == ["logits", "label"]
    assert [found.name for found in made.before + made.after] == ["tokenize", "label"]


def test_a_bare_model_takes_and_gives_its_own_columns() -> None:
    made = plan(takes=IDS, gives=LOGITS)

    assert (list(made.inputs), list(made.outputs)) == (["ids"], ["logits"])


def test_an_optional_input_keeps_its_default() -> None:
    made = plan(takes={"k": TensorSpec("int64", (-1,), "k", 5, True)}, gives=LOGITS)

    assert (made.inputs["k"].default, made.inputs["k"].optional) == (5, True)


def test_outputs_are_chosen_by_name_from_all_there_is() -> None:
    made = plan([use(tokenize)], IDS, LOGITS, [use(label)], ["label", "text"])
    wrong = plan([use(tokenize)], IDS, LOGITS, [use(label)], ["labels"])

    assert list(made.outputs) == ["label", "text"]
    assert problems(wrong) == [
        ("outputs", 0, "no column 'labels'; did you mean 'label'?; there are: text, ids, logits, label")
    ]


def test_columns_may_have_other_names_in_a_pipeline() -> None:
    made = plan([use(tokenize, columns={"text": "review", "ids": "tokens"})], {"tokens": IDS["ids"]}, LOGITS)

    assert problems(made) == []
    assert list(made.inputs) == ["review"]


def test_one_name_is_enough_for_a_step_that_reads_one_column() -> None:
    made = plan(takes=LOGITS, gives={"scores": FLOAT}, after=[use(label, columns={"*": "scores"})])

    assert problems(made) == []


def test_a_flexible_step_finds_the_one_column_that_fits_and_keeps_its_name() -> None:
    made = plan([use(tokenize), use(scale)], IDS, LOGITS, [use(scale)])

    assert problems(made) == []
    assert list(made.outputs) == ["logits"]
    assert [list(found.reads) for found in made.before + made.after] == [["text"], ["ids"], ["logits"]]


def test_a_flexible_step_that_could_mean_two_asks_which() -> None:
    made = plan(takes=LOGITS, gives={"a": FLOAT, "b": FLOAT}, after=[use(scale)])

    assert problems(made) == [("postprocessing", 0, "step 'scale' could mean a or b; say which with column: NAME")]


PAIR = {"a": FLOAT, "b": FLOAT}


def test_a_column_that_was_dropped_is_told_from_one_that_never_was() -> None:
    before = [use(tokenize), use(rename, {"ids": "tokens"}), use(rename, {"ids": "again"})]

    made = plan(before, {"tokens": IDS["ids"]}, LOGITS)

    assert problems(made) == [("preprocessing", 2, "step 'rename' reads 'ids', which an earlier step dropped")]


def test_what_a_step_writes_for_the_answer_is_not_meant_for_the_model() -> None:
    ratio = use(scale, columns={"tensor": "ratio"})
    for outputs, after in ((["ratio"], []), (None, [use(label, columns={"logits": "ratio"})])):
        made = plan([ratio], PAIR, {"y": TEXT}, after, outputs)

        assert problems(made) == []
        assert list(made.inputs) == ["ratio", "a", "b"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (plan([use(tokenize)], {"ids": TEXT}, LOGITS), "the model's input 'ids': the column holds int64"),
        (plan([use(tokenize)], {"ids": TensorSpec("int64", (-1,))}, LOGITS), "has shape [?, ?], but [?] is wanted"),
        (plan([use(tokenize)], {"input_ids": IDS["ids"]}, LOGITS), "tensors.rename with params {ids: input_ids}"),
        (plan([use(scale)], PAIR, LOGITS), "the model wants 'a' and 'b' and the steps leave 'tensor', which nobody"),
        (
            plan([use(scale, columns={"tensor": "bb"})], {**PAIR, "c": FLOAT}, LOGITS),
            "or list it in outputs; did you mean 'b'?",
        ),
        (plan(takes=IDS, gives=LOGITS, after=[use(tokenize)]), "reads 'text', which is not there"),
        (plan(takes=IDS, gives={"logit": FLOAT}, after=[use(label)]), "did you mean 'logit'"),
        (plan(takes=IDS, gives={"logits": TEXT}, after=[use(label)]), "reads 'logits', which holds string"),
        (plan([use(tokenize, {"limt": 5})], IDS, LOGITS), "no parameter 'limt'; did you mean 'limit'"),
        (plan([use(tokenize, {"limit": "five"})], IDS, LOGITS), "parameter 'limit' wants an integer, not 'five'"),
        (plan([use(tokenize, columns={"txt": "a"})], IDS, LOGITS), "no column 'txt'; did you mean 'text'"),
        (plan([use(rename, {"a": "b"}, {"a": "c"})], IDS, LOGITS), "names its columns itself"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_a_way_out(made: Plan, expected: str) -> None:
    assert any(expected in message for _, _, message in problems(made)), problems(made)


def test_every_problem_is_told_at_once() -> None:
    made = plan([use(tokenize, {"limt": 5})], IDS, LOGITS, [use(tokenize), use(label, {"names": 3})], ["nothing"])

    assert [part for part, _, _ in problems(made)] == ["preprocessing", "postprocessing", "postprocessing", "outputs"]


def test_what_depends_on_an_artefact_that_was_not_read_is_not_judged() -> None:
    made = plan([use(tokenize)], None, None, [use(label)], ["label", "whatever"])

    assert problems(made) == []
