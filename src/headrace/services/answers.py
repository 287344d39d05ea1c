"""Keeps answers of equal inputs, row by row, and asks a model once for equal rows that come at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from headrace.domain.batch import join_columns, pick_rows
from headrace.domain.errors import DeadlineExceeded, EngineError, Internal
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Cache, CacheLevel
from headrace.domain.registry import PipelineRef
from headrace.domain.tensors import Column
from headrace.services.coming import Coming, OneRow, Outcome, Waiter
from headrace.services.context import Inputs, RequestContext, Result, Timing
from headrace.services.measures import Lookups, Measures
from headrace.services.row_keys import Keys, RowKeys

Infer = Callable[[PipelineRef, Inputs, RequestContext], Awaitable[Result]]
_FIRST: Final = range(1)
_ONE: Final = Timing(batch_size=1)


class _Known(NamedTuple):
    """What is remembered of a pipeline: how its rows get keys, and how many were found."""

    keys: RowKeys
    lookups: Lookups


@dataclass(slots=True)
class _Question:
    """A request that is not answered at once: *found* is what is known of each of its rows so far."""

    pipeline: Pipeline
    inputs: Inputs
    request: RequestContext
    infer: Infer
    keys: Keys
    found: list[Outcome | None]
    waiter: Waiter

    def unknown(self, rows: Iterable[int]) -> list[int]:
        """Which of *rows* have nothing yet."""
        return [row for row in rows if self.found[row] is None]

    async def asked(self, rows: list[int]) -> Result:
        """The answer to *rows* alone."""
        inputs = self.inputs
        if len(rows) < inputs.rows:
            inputs = Inputs({name: pick_rows(column, rows) for name, column in inputs.columns.items()}, len(rows))
        return await self.infer(self.pipeline.ref, inputs, self.request)


class Answers:
    """Answers by row in a cache, and one inference for equal rows that are asked for at the same time."""

    def __init__(self, cache: Cache, measures: Measures | None = None) -> None:
        self._cache = cache
        self._measures = measures or Measures()
        self._known: WeakKeyDictionary[Pipeline, _Known] = WeakKeyDictionary()
        self._under_way: dict[bytes, Coming] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def at_hand(self, pipeline: Pipeline, inputs: Inputs, request: RequestContext) -> Result | None:
        """The kept answer to a request of one row, if nobody has to wait for it; None, and nothing counted, else."""
        if request.fresh or inputs.rows != 1:
            return None
        known = self._known.get(pipeline) or self._remembered(pipeline)
        return self._at_hand(pipeline, known, known.keys.of(inputs, request.options))

    def _at_hand(self, pipeline: Pipeline, known: _Known, keys: Sequence[bytes | None]) -> Result | None:
        if len(keys) != 1 or keys[0] is None or (kept := self._cache.at_hand(keys[0])) is None:
            return None
        known.lookups.hit += 1
        return Result(pipeline.ref, kept, _FIRST, _ONE, cached=True, digest=pipeline.digest)

    async def infer(self, pipeline: Pipeline, inputs: Inputs, request: RequestContext, infer: Infer) -> Result:
        """The answer from what is kept, from an equal request under way, or from *infer* for the rows left."""
        known = self._known.get(pipeline) or self._remembered(pipeline)
        if request.fresh:
            known.lookups.bypass += inputs.rows
            return await infer(pipeline.ref, inputs, request)
        keys = known.keys.of(inputs, request.options)
        if (kept := self._at_hand(pipeline, known, keys)) is not None:
            return kept
        if request.deadline is None:
            request = replace(request, deadline=time.monotonic() + pipeline.spec.timeout_s)
        found: list[Outcome | None] = [
            None if key is None or len(keys) == 1 else self._cache.at_hand(key) for key in keys
        ]
        return await self._answer(
            _Question(pipeline, inputs, request, infer, keys, found, Waiter(found)), known.lookups
        )

    def levels(self) -> Sequence[CacheLevel]:
        """The places where answers are kept, the nearest first."""
        return self._cache.levels()

    async def close(self) -> None:
        """Finish what is being written, and let go of the cache."""
        if self._writing:
            await asyncio.wait(self._writing)
        await self._cache.close()

    def _remembered(self, pipeline: Pipeline) -> _Known:
        known = self._known[pipeline] = _Known(RowKeys(pipeline), self._measures.lookups(pipeline.ref))
        return known

    async def _answer(self, question: _Question, lookups: Lookups) -> Result:
        """Ask for the rows that nobody else asks for, and wait for those that somebody does.

        Where that one leaves or is late, its deadline or departure is not ours: the first of those who waited asks in
        its place, for itself and the others.
        """
        waiter = question.waiter
        rows = question.unknown(range(len(question.keys)))
        lookups.hit += len(question.keys) - len(rows)
        due, own = self._claimed(question, rows)
        joined = len(rows) - len(due)
        fresh: Result | None = None
        try:
            while due or waiter.waits:
                if due:
                    answer = await self._owed(question, due, own, lookups)
                    if answer is not None and len(answer.picks) == len(question.keys):
                        return answer
                    fresh = fresh or answer
                await waiter.wait(question.request.remaining_s())
                due, waiter.handed = sorted(waiter.handed), []
                joined -= len(due)
                own = {key: self._under_way[key] for row in due if (key := question.keys[row]) is not None}
        finally:
            waiter.gone = True
            for row in waiter.handed:
                self._give_up(question.keys[row])
        lookups.hit += joined
        return _result(question, fresh)

    def _claimed(self, question: _Question, rows: Sequence[int]) -> tuple[list[int], dict[bytes, Coming]]:
        """The rows that this request asks for, and what it owes with them; for the others it waits."""
        due: list[int] = []
        own: dict[bytes, Coming] = {}
        for row in rows:
            key = question.keys[row]
            if key is not None and (coming := self._under_way.get(key)) is not None:
                coming.join(question.waiter, row)
                continue
            due.append(row)
            if key is not None:
                own[key] = self._under_way[key] = Coming()
        return due, own

    async def _owed(
        self, question: _Question, rows: list[int], own: dict[bytes, Coming], lookups: Lookups
    ) -> Result | None:
        """Answer *rows* for everybody who waits for them; what had to be inferred."""
        try:
            if self._cache.waits and own:
                await self._look_further(question, own)
            missing = question.unknown(rows)
            lookups.hit += len(rows) - len(missing)
            lookups.miss += len(missing)
            if not missing:
                return None
            fresh = await question.asked(missing)
            await self._keep(question, missing, fresh, own)
            return fresh
        except EngineError as error:
            if not isinstance(error, DeadlineExceeded):
                for coming in own.values():
                    if coming.outcome is None:
                        coming.tell(error)
            raise
        finally:
            # Only now, so that nobody finds an answer neither under way nor kept.
            for key in own:
                self._give_up(key)

    def _give_up(self, key: bytes | None) -> None:
        """Owe the answer to *key* no more: it has come, or the next one who waits for it owes it."""
        if key is not None and (self._under_way[key].outcome is not None or not self._under_way[key].hand_on()):
            del self._under_way[key]

    async def _look_further(self, question: _Question, own: Mapping[bytes, Coming]) -> None:
        """Take what a cache that is not at hand knows of the *own* keys, if it is an answer of this pipeline's."""
        names = question.pipeline.outputs.keys()
        for key, kept in zip(own, await self._cache.get(list(own)), strict=True):
            if kept is not None and kept.keys() == names:
                own[key].tell(kept)
                question.found[question.keys.index(key)] = kept

    async def _keep(
        self,
        question: _Question,
        rows: Sequence[int],
        fresh: Result,
        own: dict[bytes, Coming],
    ) -> None:
        """Give the answers to whoever waits for them and to the cache."""
        answers: dict[bytes, OneRow] = {}
        for row, pick in zip(rows, fresh.picks, strict=True):
            key = question.keys[row]
            outcome: Outcome = pick if isinstance(pick, EngineError) else _row(fresh.columns, pick)
            question.found[row] = outcome
            if key is None:
                continue
            if isinstance(outcome, DeadlineExceeded):
                own[key].tell_only(question.waiter, outcome)
            elif own[key].outcome is None:
                own[key].tell(outcome)
            # A swap meanwhile: the answer is another pipeline's, and the key this one's.
            if not isinstance(outcome, EngineError) and fresh.digest == question.pipeline.digest:
                answers[key] = outcome
        if not answers or question.pipeline.spec.cache is None:
            return
        written = self._cache.set(answers, question.pipeline.spec.cache.ttl_s)
        if not self._cache.waits:
            await written
            return
        # Nobody waits for a write. Until it is done, the answer is found where it was when it was under way.
        future_of = {key: own.pop(key) for key in answers}
        task = asyncio.get_running_loop().create_task(self._write(written, future_of), context=Context())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, written: Awaitable[None], keys: Mapping[bytes, object]) -> None:
        try:
            await written
        finally:
            for key in keys:
                del self._under_way[key]


def _row(columns: Mapping[str, Column], row: int) -> OneRow:
    return {name: column[row : row + 1] for name, column in columns.items()}


def _result(question: _Question, fresh: Result | None) -> Result:
    """One result of rows that come from several places."""
    pipeline = question.pipeline
    rows: list[OneRow] = []
    picks: list[int | EngineError] = []
    for row in question.found:
        if isinstance(row, EngineError) or row is None:
            picks.append(row or Internal("the row was lost"))
            continue
        picks.append(len(rows))
        rows.append(row)
    columns = {name: join_columns([row[name] for row in rows]) if rows else [] for name in pipeline.outputs}
    ready = range(len(rows)) if len(rows) == len(picks) else picks
    timing = fresh.timing if fresh else Timing(batch_size=len(picks))
    waited_s = fresh.queue_s if fresh else 0.0
    own = fresh.rows if fresh else range(0)
    return Result(
        pipeline.ref, columns, ready, timing, waited_s, cached=fresh is None, digest=pipeline.digest, rows=own
    )
