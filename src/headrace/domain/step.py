"""How a plain function becomes a step: what it reads and writes, its parameters, and how it is run on a batch."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import numpy as np

from headrace.domain.batch import Batch, extent
from headrace.domain.errors import EngineError, InvalidConfig, InvalidInput, ModelFailure, TooLarge
from headrace.domain.parameters import Signature, signature
from headrace.domain.tensors import ANYTHING, Column, TensorSpec

Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
Specs = Mapping[str, TensorSpec]
Run = Callable[["Batch", "Context"], "Batch | Awaitable[Batch]"]
Form = Literal["batch", "columns", "row"]


def in_turn(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Apply *function* to each item, one after another."""
    return [function(item) for item in items]


Took = tuple[str, str, float, float]
"""A step that ran: its phase and its name, the seconds that it took, and when it began by the monotonic clock."""


@dataclass(slots=True)
class Context:
    """What a step may know beside its columns.

    *options* steer the engine and the steps; requests with different options never share a batch. *values* are
    batch-wide (statistics); what belongs to a row is a column. *deadline* is in seconds of the monotonic clock.
    *map* applies a function to many rows, in parallel threads where the executor offers them. *timings* collect
    what took how long as the pipeline runs; *tokens* are those of each row, where the model reads any. *crowded*
    says that other calls run at the same time: this one should leave processors to them.
    *requests* tells how many rows each request has whose rows these are; none may fail because of another.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    deadline: float | None = None
    map: Map = in_turn
    timings: list[Took] = field(default_factory=list)
    tokens: Sequence[int] | None = None
    crowded: bool = False
    requests: Callable[[], Sequence[int]] | None = None

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a pipeline stands on disk: the workspace's *root*, and the folder of its model's artefact.

    A keyword-only parameter ``place: Place | None = None`` asks for it; it is no entry of ``params``. *kept* holds
    what the steps of one pipeline read from files when they were bound, so that it is read once, and a file that
    changes later changes nothing before a reload.
    """

    root: Path = field(default_factory=Path)
    model_folder: Path | None = None
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it stands in one pipeline: named, with its parameters and columns bound.

    *after* tells the columns that follow, given those before. *waits* says that `run` returns an awaitable;
    *pure*, that it leaves the values it reads as they were.
    """

    name: str
    run: Run
    reads: Specs
    after: Callable[[Specs], dict[str, TensorSpec]]
    waits: bool = False
    pure: bool = False


Flow = Callable[..., Mapping[str, TensorSpec | None]]


@dataclass(frozen=True, slots=True)
class StepType:
    """What a function behind steps declares.

    *reads* and *writes* map column names to specs; either may be a function of the step's parameters. *flow*
    computes the specs of what is written from those of what is read (positionally: one mapping) and the
    parameters; a spec of None drops the column. *flexible* types read their column under whatever name it has
    when only one column fits. *any_shape*: the shapes in *reads* are those of an input of the pipeline; a column
    that an earlier step wrote may have another. *takes_place*: the function wants to know its Place.
    """

    function: Callable[..., Any]
    signature: Signature
    form: Form
    reads: Specs | Callable[..., Specs]
    writes: Specs | Callable[..., Specs]
    flow: Flow | None
    flexible: bool
    parallel: bool
    waits: bool
    pure: bool
    any_shape: bool = False
    takes_place: bool = False

    def sources(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns that the function is called with: those it reads under *params*, or its own parameters."""
        return tuple(self.reads(**params)) if callable(self.reads) else self.signature.columns


@dataclass(frozen=True, slots=True)
class _Declaration:
    reads: Specs | Callable[..., Specs] | Sequence[str] | None
    writes: Specs | Callable[..., Specs] | Sequence[str] | None
    flow: Flow | None
    per: Literal["batch", "row"]
    flexible: bool
    parallel: bool
    pure: bool
    any_shape: bool


_MARK: Final = "__headrace_step__"
_UNMARKED: Final = _Declaration(None, None, None, "batch", False, False, False, False)
F = Callable[..., Any]


def step(
    *,
    reads: Specs | Callable[..., Specs] | Sequence[str] | None = None,
    writes: Specs | Callable[..., Specs] | Sequence[str] | None = None,
    flow: Flow | None = None,
    per: Literal["batch", "row"] = "batch",
    flexible: bool = False,
    parallel: bool = False,
    pure: bool = False,
    any_shape: bool = False,
) -> Callable[[F], F]:
    """State what a step function reads and writes; the function itself stays as it is.

    The positional parameters of the function are the columns it reads, each a NumPy array or a list with one
    entry per row (``per="row"``: the value of one row), and its keyword-only parameters are the step's ``params``.
    It returns one column, or a mapping of columns. A function whose first parameter is ``batch`` gets the whole
    Batch and returns one. A positional parameter ``context`` gets the Context. Where *reads* is a function of
    the parameters, its columns are passed in that order. ``parallel`` spreads the rows of a ``per="row"`` step over
    threads; ``pure`` promises that the values read are not changed in place.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, _Declaration(reads, writes, flow, per, flexible, parallel, pure, any_shape))
        return function

    return mark


def step_type(function: Callable[..., Any]) -> StepType:
    """What *function* declares, as a StepType. Raises InvalidConfig when it does not say enough."""
    declared: _Declaration = getattr(function, _MARK, _UNMARKED)
    found, takes_place = _without_place(signature(function))
    form: Form = "row" if declared.per == "row" else "columns"
    if found.columns[:1] == ("batch",):
        form = "batch"
        found = Signature((), found.parameters, found.rest, found.takes_context)
        if declared.reads is None or declared.writes is None:
            raise InvalidConfig(
                f"step function {function.__name__!r} takes a whole batch and must state its columns: "
                f"@step(reads=[...], writes=[...])"
            )
    if found.takes_context and list(inspect.signature(function).parameters)[_position(found, form)] != "context":
        raise InvalidConfig(f"step function {function.__name__!r} must take `context` after its columns")
    reads = _specs(declared.reads)
    if form != "batch" and not callable(reads):
        reads = {name: reads.get(name, ANYTHING) for name in found.columns}
    writes = _specs(declared.writes)
    if declared.writes is None and form != "batch":
        writes = dict.fromkeys(found.columns[:1], ANYTHING)
    return StepType(
        function, found, form, reads, writes, declared.flow, declared.flexible, declared.parallel,
        inspect.iscoroutinefunction(function), declared.pure, declared.any_shape, takes_place,
    )  # fmt: skip


def _position(found: Signature, form: Form) -> int:
    """Where the context is passed: after the columns, or after the batch."""
    return 1 if form == "batch" else len(found.columns)


def _without_place(found: Signature) -> tuple[Signature, bool]:
    """The parameters that a configuration may set: ``place`` is filled by whoever binds the step."""
    place = found.parameters.get("place")
    if place is None or Place not in (place.hint, *get_args(place.hint)):
        return found, False
    left = {name: parameter for name, parameter in found.parameters.items() if name != "place"}
    return replace(found, parameters=left), True


def _specs(stated: Specs | Callable[..., Specs] | Sequence[str] | None) -> Specs | Callable[..., Specs]:
    if stated is None:
        return {}
    if callable(stated) or isinstance(stated, Mapping):
        return stated
    return dict.fromkeys(stated, ANYTHING)


def runner(kind: StepType, name: str, params: Mapping[str, Any], columns: Mapping[str, str]) -> Run:
    """The callable that runs *kind* on a batch, with *columns* mapping declared names to those of the pipeline."""
    if kind.form == "batch":
        return _on_batch(kind, name, params)
    if kind.form == "row":
        return _on_rows(kind, name, params, columns)
    run = _on_columns(kind, name, params, columns)
    return _asking_each_row(run) if kind.pure and not kind.waits else run


def _on_batch(kind: StepType, name: str, params: Mapping[str, Any]) -> Run:
    def call(batch: Batch, context: Context) -> Any:
        # Numbered from zero: what earlier steps dropped is none of this one's business, and cannot get lost in it.
        given = Batch(batch.columns, batch.size)
        return kind.function(given, *([context] if kind.signature.takes_context else []), **params)

    def keep(batch: Batch, returned: Any) -> Batch:
        if not isinstance(returned, Batch):
            raise ModelFailure(f"step {name!r} takes a whole batch and returned a {type(returned).__name__}")
        if (rows := returned.size + len(returned.failures)) != batch.size:
            raise ModelFailure(f"step {name!r} returned {rows} rows; the batch has {batch.size}")
        return batch.followed_by(returned)

    async def wait(batch: Batch, context: Context) -> Batch:
        return keep(batch, await call(batch, context))

    return wait if kind.waits else lambda batch, context: keep(batch, call(batch, context))


def _on_columns(kind: StepType, name: str, params: Mapping[str, Any], columns: Mapping[str, str]) -> Run:
    sources = [columns.get(column, column) for column in kind.sources(params)]
    named, keep = _keeper(kind, name, params, columns)

    def arguments(batch: Batch, context: Context) -> list[Any]:
        values: list[Any] = [batch.columns[source] for source in sources]
        return [*values, context] if kind.signature.takes_context else values

    if kind.waits:

        async def wait(batch: Batch, context: Context) -> Batch:
            return keep(batch, named(await kind.function(*arguments(batch, context), **params)))

        return wait
    return lambda batch, context: keep(batch, named(kind.function(*arguments(batch, context), **params)))


_REFUSALS: Final = (InvalidInput, TooLarge, ModelFailure)


def _asking_each_row(run: Run) -> Run:
    """A pure step that refuses a value is asked about each row: however many are bad, the others go on.

    It costs a call for each row, of local code and only when something is wrong; halving would give up at some point.
    """

    def ask(batch: Batch, context: Context) -> Batch:
        try:
            return cast(Batch, run(batch, context))
        except _REFUSALS:
            if batch.size == 1:
                raise
        errors: dict[int, EngineError] = {}
        for row in range(batch.size):
            try:
                run(batch.take(row, row + 1), context)
            except _REFUSALS as error:
                errors[row] = error
        left = batch.without(errors)
        return cast(Batch, run(left, context)) if left.size else left

    return ask


Keep = Callable[[Batch, Mapping[str, Column]], Batch]
Named = Callable[[Any], Mapping[str, Any]]


def _keeper(kind: StepType, name: str, params: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[Named, Keep]:
    """How what a function returned is named, and how it becomes columns of the batch."""
    writes = list(kind.writes(**params) if callable(kind.writes) else kind.writes)

    def named(returned: Any) -> Mapping[str, Any]:
        promised = f"step {name!r} promised the columns {', '.join(writes)}"
        if not isinstance(returned, Mapping):
            if len(writes) != 1:
                raise ModelFailure(f"{promised} and returned one value")
            return {writes[0]: returned}
        if kind.flow is None and (missing := [column for column in writes if column not in returned]):
            raise ModelFailure(f"{promised} and did not return {', '.join(missing)}")
        return returned

    def keep(batch: Batch, returned: Mapping[str, Column]) -> Batch:
        for column, values in returned.items():
            if extent(values) != batch.size:
                raise ModelFailure(
                    f"step {name!r} returned {extent(values)} rows for column {column!r}; the batch has {batch.size}"
                )
        return batch.with_columns(**{columns.get(column, column): values for column, values in returned.items()})

    return named, keep


def _on_rows(kind: StepType, name: str, params: Mapping[str, Any], columns: Mapping[str, str]) -> Run:
    sources = [columns.get(column, column) for column in kind.sources(params)]
    named, keep = _keeper(kind, name, params, columns)

    def arguments(batch: Batch, context: Context) -> list[tuple[Any, ...]]:
        extra = (context,) if kind.signature.takes_context else ()
        rows = zip(*(batch.columns[source] for source in sources), strict=True)
        return [(*values, *extra) for values in rows]

    def one(values: tuple[Any, ...]) -> Any:
        try:
            return named(kind.function(*values, **params))
        except Exception as error:  # the row leaves, its neighbours go on
            return as_engine_error(error, f"step {name!r}")

    async def wait_for_one(values: tuple[Any, ...]) -> Any:
        try:
            return named(await kind.function(*values, **params))
        except Exception as error:
            return as_engine_error(error, f"step {name!r}")

    def gather(batch: Batch, results: list[Any]) -> Batch:
        errors = {row: result for row, result in enumerate(results) if isinstance(result, EngineError)}
        left = batch.without(errors)
        return left if left.size == 0 else keep(left, _gathered([r for r in results if not isinstance(r, EngineError)]))

    def run(batch: Batch, context: Context) -> Batch:
        spread = context.map if kind.parallel else in_turn
        return gather(batch, spread(one, arguments(batch, context)))

    async def wait(batch: Batch, context: Context) -> Batch:
        return gather(batch, [await wait_for_one(values) for values in arguments(batch, context)])

    return wait if kind.waits else run


def _gathered(rows: list[Mapping[str, Any]]) -> dict[str, Column]:
    """The columns that every one of *rows* has."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: as_column(row[name] for row in rows) for name in names}


def as_column(values: Iterable[Any]) -> Column:
    """One array where the values stack (arrays of one shape and type, NumPy scalars), else a list."""
    rows = list(values)
    if rows and all(isinstance(row, (np.ndarray, np.generic)) for row in rows):
        first = rows[0]
        if all(row.shape == first.shape and row.dtype == first.dtype for row in rows):
            return np.stack(rows)
    return rows


def as_engine_error(error: Exception, what: str) -> EngineError:
    """*error* itself if it has a meaning of its own, else a ModelFailure that names *what* raised it."""
    if isinstance(error, EngineError):
        return error
    failure = ModelFailure(f"{what} raised {type(error).__name__}: {str(error)[:500]}")
    failure.__cause__ = error
    return failure
