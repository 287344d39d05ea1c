"""How a model is called on a batch: columns made to its spec, its batch axis respected, its word checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from headrace.domain.batch import Batch, extent, join_columns
from headrace.domain.coerce import MISFITS, coerce
from headrace.domain.errors import ModelFailure
from headrace.domain.model import ConsiderateModel, Model, RemoteModel
from headrace.domain.padding import Padding, Part
from headrace.domain.step import Context, Specs, Step
from headrace.domain.tensors import Column, TensorSpec, to_column


def row_specs(specs: Specs, *, batched: bool) -> dict[str, TensorSpec]:
    """The specs of a model as columns with a row axis: a fixed batch axis becomes free, a missing one is added."""
    if batched:
        return {name: spec.with_shape(_free(spec.shape)) for name, spec in specs.items()}
    return {name: spec.with_shape(None if spec.shape is None else (-1, *spec.shape)) for name, spec in specs.items()}


def _free(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else (-1, *shape[1:])


def fixed_batch(specs: Specs) -> int | None:
    """The batch size that a model was exported for, if it is fixed."""
    sizes = {spec.shape[0] for spec in specs.values() if spec.shape} - {-1}
    return max(sizes) if sizes else None


def model_step(model: Model, *, batched: bool, padding: Padding | None = None) -> Step:
    """The model as a step of its pipeline; rows that differ in length are filled up as *padding* says."""
    inputs, outputs = model.get_input_spec(), model.get_output_spec()
    wanted = row_specs(inputs, batched=batched)
    after = _after(row_specs(outputs, batched=batched))
    if isinstance(model, RemoteModel):
        return _remote(model, wanted, outputs, after, padding)
    ways: tuple[Predict, Predict] = (
        model.predict,
        model.predict_beside if isinstance(model, ConsiderateModel) else model.predict,
    )
    if padding is not None:
        ways = (_filled_up(ways[0], padding, outputs), _filled_up(ways[1], padding, outputs))
    size = fixed_batch(inputs) if batched else None

    def whole(batch: Batch, context: Context) -> Batch:
        left, given = _arguments(batch, wanted)
        return accept(left, ways[context.crowded](given), outputs) if left.size else left

    def in_parts(batch: Batch, context: Context) -> Batch:
        left, given = _arguments(batch, wanted)
        parts = [
            _padded(ways[context.crowded], given, start, size or 1, outputs) for start in range(0, left.size, size or 1)
        ]
        return accept(left, _joined(parts, outputs), outputs) if parts else left

    def single(batch: Batch, context: Context) -> Batch:
        left, given = _arguments(batch, wanted)
        predict = ways[context.crowded]
        answers = [predict({name: given[name][row] for name in given}) for row in range(left.size)]
        if not answers:
            return left
        return accept(left, {name: [answer[name] for answer in answers] for name in answers[0]}, outputs)

    run = single if not batched else in_parts if size is not None else whole
    return Step("model", run, wanted, after, pure=model.pure)


After = Callable[[Specs], dict[str, TensorSpec]]
Predict = Callable[[Mapping[str, Column]], Mapping[str, Column]]


def _after(added: Specs) -> After:
    return lambda before: {**before, **added}


def _arguments(batch: Batch, wanted: Specs) -> tuple[Batch, Mapping[str, Column]]:
    """*batch* without the rows that do not fit what the model wants, and the columns of the others as it wants them.

    A misfit is found here, without a call of the model, however many there are.
    """
    columns = batch.columns
    if not wanted.keys() <= columns.keys():
        columns = {**{name: [spec.default] * batch.size for name, spec in wanted.items()}, **columns}
    try:
        return batch, {name: to_column(columns[name], spec) for name, spec in wanted.items()}
    except MISFITS:
        taken = coerce(Batch({name: columns[name] for name in wanted}, batch.size), wanted)
        return batch.without(taken.failures), taken.columns


def _joined(parts: Sequence[Mapping[str, Column]], names: Iterable[str]) -> dict[str, Column]:
    return {name: join_columns([part[name] for part in parts]) for name in names}


def _padded(predict: Predict, given: Mapping[str, Column], start: int, size: int, promised: Specs) -> dict[str, Column]:
    """One call of a model whose batch axis is fixed at *size*; a short last part repeats its last row."""
    part = {name: column[start : start + size] for name, column in given.items()}
    short = size - len(next(iter(part.values())))
    if short:
        part = {name: join_columns([column, *([column[-1:]] * short)]) for name, column in part.items()}
    answer = accept(Batch(part, size), predict(part), promised).columns
    return {name: answer[name][: size - short] for name in promised}


def _filled_up(predict: Predict, padding: Padding, promised: Specs) -> Predict:
    """*predict* for rows of differing lengths: a call for each part of them, and the answers cut back."""

    def call(given: Mapping[str, Column]) -> Mapping[str, Column]:
        answers = [(part, _kept(part, predict(part.columns), promised)) for part in padding.parts(given)]
        return padding.joined(answers, promised)

    return call


def _kept(part: Part, returned: Mapping[str, Column], promised: Specs) -> Mapping[str, Column]:
    return accept(Batch(part.columns, len(part.rows)), returned, promised).columns


def _remote(model: RemoteModel, wanted: Specs, outputs: Specs, after: After, padding: Padding | None) -> Step:
    async def predict(given: Mapping[str, Column], deadline: float | None) -> Mapping[str, Column]:
        if padding is None:
            return await model.predict(given, deadline)
        parts = padding.parts(given)
        answers = [(part, _kept(part, await model.predict(part.columns, deadline), outputs)) for part in parts]
        return padding.joined(answers, outputs)

    async def wait(batch: Batch, context: Context) -> Batch:
        left, given = _arguments(batch, wanted)
        return accept(left, await predict(given, context.deadline), outputs) if left.size else left

    return Step("model", wait, wanted, after, waits=True, pure=True)


def accept(batch: Batch, returned: Mapping[str, Column], promised: Specs) -> Batch:
    """*batch* with what the model returned. Raises ModelFailure when it broke its word.

    A model that returns too few rows would give every caller a neighbour's answer; it is stopped here.
    """
    if not promised.keys() <= returned.keys():
        missing = ", ".join(name for name in promised if name not in returned)
        raise ModelFailure(f"the model did not return {missing}; it returned {_names(returned)}")
    for name, column in returned.items():
        if extent(column) != batch.size:
            raise ModelFailure(f"the model returned {_rows(column)} for {name!r}; the batch has {batch.size} rows")
    return batch.with_columns(**returned)


def _names(returned: Mapping[str, Column]) -> str:
    return ", ".join(returned) or "nothing"


def _rows(column: object) -> str:
    rows = extent(column)
    return f"a {type(column).__name__} without rows" if rows is None else f"{rows} rows"
