"""Is the answer the same at every speed? The same rows are sent each way, and every difference is told."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.domain.batch import Outcome
from headrace.domain.equality import Difference, differences
from headrace.domain.errors import EngineError
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Broker, Tables
from headrace.domain.routing import Asked
from headrace.domain.spec import ModelUse, StreamSpec, Window
from headrace.services.context import RequestContext
from headrace.services.inference import Inference
from headrace.services.inputs import rows_to_inputs
from headrace.services.job_columns import reading
from headrace.services.job_orders import Order
from headrace.services.jobs import Jobs
from headrace.services.outcomes import jsonable
from headrace.services.streams import Streams

Row = Mapping[str, Any]
Answer = Mapping[str, Any]
"""Outputs in plain data, or ``{"error": {"code": ..}}``."""
Way = Callable[[Sequence[Row]], Awaitable[Sequence[Answer]]]

TOGETHER: Final = 64
"""Requests that are under way at the same time when they are to meet in batches."""
READ_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A difference between one way and the row asked alone; *row* counts from 1, as in the file."""

    way: str
    row: int
    difference: Difference

    def __str__(self) -> str:
        return f"row {self.row}, {self.way}: {self.difference}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was compared: *rows* in each of the *ways*, *failed* of them with an error (the same one each way)."""

    ways: tuple[str, ...]
    rows: int
    failed: int
    disagreements: tuple[Disagreement, ...]


class Verification:
    """Sends the rows of a table through a pipeline each way that there is."""

    def __init__(self, inference: Inference, tables: Tables, broker: Broker, pipeline: Pipeline) -> None:
        """*pipeline* is asked by its version, whatever leads there: on a split, each way would meet another one."""
        self._inference = inference
        self._tables = tables
        self._broker = broker
        self._pipeline = pipeline
        self._asked = Asked(pipeline.ref.name, pipeline.ref.version)

    async def run(self, place: str, ways: Mapping[str, Way], on_way: Callable[[str], None] = lambda _: None) -> Verdict:
        """Compare every way with each row asked alone; *ways* are those of the doors, by name."""
        rows = await self._inference.engine.executor.call(self._rows, place)
        expected = await self.alone(rows)
        found: dict[str, Sequence[Answer]] = {}
        inner: dict[str, Way] = {"requests in batches": self.together, "stream": self.stream}
        for name, way in {**inner, **ways}.items():
            on_way(name)
            found[name] = await way(rows)
        on_way("batch run")
        found["batch run"] = await self.table(place, len(rows))
        return Verdict(
            tuple(found),
            len(rows),
            sum("error" in answer for answer in expected),
            tuple(
                Disagreement(name, number, one)
                for name, answers in found.items()
                for number, one in _compared(expected, answers)
            ),
        )

    def _rows(self, place: str) -> list[Row]:
        """The rows of the table as a client would send them; what cannot be read is sent as it stands."""
        table = self._tables.open(place)
        try:
            wanted = reading(self._pipeline, table.columns, given={}, keep={}).wanted
            rows: dict[int, Row] = {}
            for chunk in table.chunks(wanted, (), READ_ROWS):
                for position, number in enumerate(chunk.numbers):
                    rows[number] = {name: jsonable(column[position]) for name, column in chunk.columns.items()}
                for number, bad in chunk.unreadable.items():
                    original = bad.original if isinstance(bad.original, Mapping) else {"": bad.original}
                    names = {one.column: one.name for one in wanted}
                    rows[number] = {names.get(name, name): value for name, value in original.items()}
        finally:
            table.close()
        return [rows[number] for number in sorted(rows)]

    async def alone(self, rows: Sequence[Row]) -> list[Answer]:
        """Each row as a request of its own, one after another."""
        return [await self._ask(row) for row in rows]

    async def together(self, rows: Sequence[Row]) -> list[Answer]:
        """Each row as a request, many at the same time, so that they share batches."""
        places = asyncio.Semaphore(TOGETHER)

        async def ask(row: Row) -> Answer:
            async with places:
                return await self._ask(row)

        return list(await asyncio.gather(*(ask(row) for row in rows)))

    async def _ask(self, row: Row) -> Answer:
        try:
            choice = self._inference.choose(self._asked)
            inputs = rows_to_inputs(choice.pipeline, [row])
            request = RequestContext(door="verify", fresh=True)
            return _plain((await self._inference.infer(choice, inputs, request)).outcomes()[0])
        except EngineError as error:
            return _plain(error)

    async def stream(self, rows: Sequence[Row]) -> list[Answer]:
        """All rows as events of one stream."""
        streams = Streams(self._broker, self._inference)
        use = ModelUse(self._asked.name, self._asked.version)
        spec = StreamSpec("headrace.verify", use, window=Window(max_events=TOGETHER, max_ms=5))
        streams.start([spec])
        stream = streams.get(spec.name)
        results = stream.results()
        answers: dict[int, Answer] = {}
        try:
            for start in range(0, len(rows), TOGETHER):
                part = rows[start : start + TOGETHER]
                await stream.publish(part)
                while len(answers) < start + len(part):
                    body = msgspec.json.decode((await anext(results)).value)
                    answers[body["position"]] = body["outputs"] if "outputs" in body else {"error": body["error"]}
        finally:
            await results.aclose()
            await streams.stop()
        return [answers[position] for position in range(len(rows))]

    async def table(self, place: str, rows: int) -> list[Answer]:
        """The table itself as a batch run."""
        with tempfile.TemporaryDirectory(prefix="headrace-verify-") as folder:
            output, errors = str(Path(folder) / "answers.jsonl"), str(Path(folder) / "errors.jsonl")
            order = Order(self._asked, place, output, errors, row_number=True)
            await Jobs(self._inference, self._tables).run(order)
            return await self._inference.engine.executor.call(_read_answers, output, errors, rows)


def _read_answers(output: str, errors: str, rows: int) -> list[Answer]:
    answers: list[Answer] = [{"error": {"code": "lost"}}] * rows
    with Path(output).open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            answers[row.pop("row") - 1] = row
    if Path(errors).exists():
        with Path(errors).open(encoding="utf-8") as lines:
            for line in lines:
                failed = json.loads(line)
                answers[failed["row"] - 1] = {"error": {"code": failed["code"]}}
    return answers


def _compared(expected: Sequence[Answer], answers: Sequence[Answer]) -> list[tuple[int, Difference]]:
    if len(expected) != len(answers):
        return [(0, Difference("rows", len(expected), len(answers)))]
    return [
        (number, one)
        for number, (want, have) in enumerate(zip(expected, answers, strict=True), 1)
        for one in differences(want, have)
    ]


def _plain(outcome: Outcome) -> Answer:
    if isinstance(outcome, EngineError):
        return {"error": {"code": outcome.code, "message": outcome.message}}
    answer: Answer = jsonable(outcome)
    return answer
