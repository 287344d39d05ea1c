"""Which columns of a table become which inputs of a pipeline, and which are passed on to its answers?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.domain.errors import InvalidRequest
from headrace.domain.parameters import nearest
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Wanted

EVERYTHING = "*"
ROW = "row"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read from a table: the *wanted* inputs, and the columns to *keep* by their names in the output."""

    wanted: tuple[Wanted, ...]
    keep: Mapping[str, str]


def reading(
    pipeline: Pipeline,
    columns: Sequence[str] | None,
    *,
    given: Mapping[str, str],
    keep: Mapping[str, str],
    row_number: bool = False,
) -> Reading:
    """How a table with *columns* (None: known row by row only) is read for *pipeline*.

    *given* names the column of an input where it is not the input's own name. Optional inputs without a column are
    left out. Raises InvalidRequest with every name that leads nowhere or stands for two things.
    """
    problems = [
        f"the pipeline has no input {name!r}{nearest(name, list(pipeline.inputs))}; it takes: {_names(pipeline.inputs)}"
        for name in given
        if name not in pipeline.inputs
    ]
    chosen = _chosen(keep, columns, pipeline, problems)
    wanted = [Wanted(name, given.get(name, name), spec) for name, spec in pipeline.inputs.items()]
    if columns is not None:
        left_out = {one.name for one in wanted if one.column not in columns and one.spec.optional}
        left_out -= given.keys()
        wanted = [one for one in wanted if one.name not in left_out]
        problems += _absent({one.name: one.column for one in wanted}, columns, "the pipeline's input")
        problems += _absent(chosen, columns, "kept as")
    taken = {*pipeline.outputs, *([ROW] if row_number else [])}
    problems += [
        f"{name!r} would name two columns of the output; keep it under another name, as in --keep my_{name}={column}"
        for name, column in chosen.items()
        if name in taken
    ]
    if row_number and ROW in pipeline.outputs:
        problems.append(f"the pipeline has an output {ROW!r} of its own; go without the number of the row")
    if problems:
        raise InvalidRequest("\n".join(problems))
    return Reading(tuple(wanted), chosen)


def _chosen(
    keep: Mapping[str, str], columns: Sequence[str] | None, pipeline: Pipeline, problems: list[str]
) -> dict[str, str]:
    """The columns to keep; ``*`` stands for every one that no output is named after."""
    chosen = {name: column for name, column in keep.items() if column != EVERYTHING}
    if EVERYTHING in keep.values():
        if columns is None:
            problems.append("rows of JSON lines bring their own columns: name those to keep, one by one")
        taken = {*pipeline.outputs, *chosen.values()}
        chosen |= {column: column for column in columns or () if column not in taken}
    return chosen


def _absent(used: Mapping[str, str], columns: Sequence[str], role: str) -> list[str]:
    there = ", ".join(columns)
    hint = "; is it separated by something other than commas?" if len(columns) == 1 and _separated(columns[0]) else ""
    return [
        f"the table has no column {column!r} ({role} {name!r}){nearest(column, columns)}; it has: {there}{hint}"
        for name, column in used.items()
        if column not in columns
    ]


def _separated(name: str) -> bool:
    return any(mark in name for mark in ";\t|")


def _names(columns: Mapping[str, object]) -> str:
    return ", ".join(columns) or "none"
