"""Keeps answers of equal inputs: row by row, under a key that changes with everything the answer depends on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from headrace.domain.batch import Batch, Row, pick_rows
from headrace.domain.coerce import coerce
from headrace.domain.errors import EngineError, Internal
from headrace.domain.isolation import INDIVISIBLE
from headrace.domain.pipeline import Pipeline
from headrace.domain.ports import Cache
from headrace.domain.registry import PipelineRef
from headrace.domain.step import as_column
from headrace.domain.tensors import Column
from headrace.services.context import Inputs, RequestContext, Result, Timing
from headrace.services.measures import Measures

Infer = Callable[[PipelineRef, Inputs, RequestContext], Awaitable[Result]]


class Answers:
    """Answers by row in a cache, and one inference for equal rows that are asked for at the same time."""

    def __init__(self, cache: Cache, measures: Measures | None = None) -> None:
        self._cache = cache
        self._measures = measures or Measures()
        self._under_way: dict[bytes, asyncio.Future[Row | EngineError]] = {}

    async def infer(self, pipeline: Pipeline, inputs: Inputs, request: RequestContext, infer: Infer) -> Result:
        """The answer from what is kept, from an equal request under way, or from *infer* for the rows left."""
        if request.fresh:
            self._measures.cached(pipeline.ref, "bypass")
            return await infer(pipeline.ref, inputs, request)
        keys = row_keys(pipeline, inputs, request.options)
        rows: list[Row | EngineError | None] = [await self._kept(key) for key in keys]
        under_way = self._under_way
        waiting = {n: under_way[key] for n, key in enumerate(keys) if rows[n] is None and key and key in under_way}
        missing = [n for n, row in enumerate(rows) if row is None and n not in waiting]
        for state, count in (("hit", len(keys) - len(missing)), ("miss", len(missing))):
            for _ in range(count):
                self._measures.cached(pipeline.ref, state)
        fresh: Result | None = None
        if missing:
            fresh = await self._infer_missing(pipeline, inputs, request, infer, keys, missing, rows)
        for n, future in waiting.items():
            rows[n] = await self._joined(future, pipeline, inputs, request, infer, n)
        if fresh is not None and len(missing) == len(rows):
            return fresh
        return _result(pipeline, rows, fresh)

    async def _kept(self, key: bytes | None) -> Row | None:
        stored = None if key is None else await self._cache.get(key)
        try:
            return None if stored is None else decode_row(stored)
        except (msgspec.MsgspecError, TypeError, ValueError):  # kept by another version
            return None

    async def _infer_missing(
        self,
        pipeline: Pipeline,
        inputs: Inputs,
        request: RequestContext,
        infer: Infer,
        keys: list[bytes | None],
        missing: list[int],
        rows: list[Row | EngineError | None],
    ) -> Result:
        loop = asyncio.get_running_loop()
        futures: dict[int, asyncio.Future[Row | EngineError]] = {}
        for n in missing:
            key = keys[n]
            if key is not None and key not in self._under_way:
                futures[n] = self._under_way[key] = loop.create_future()
        asked = inputs if len(missing) == inputs.rows else _picked(inputs, missing)
        try:
            result = await infer(pipeline.ref, asked, request)
            for n, outcome in zip(missing, result.outcomes(), strict=True):
                rows[n] = outcome
                if n in futures:
                    futures[n].set_result(outcome)
                # A swap meanwhile: the answer is another pipeline's, and the key this one's.
                if result.digest == pipeline.digest:
                    await self._keep(pipeline, keys[n], outcome)
        finally:
            # Only now, so that nobody finds an answer neither under way nor kept. Whoever joined one that did not
            # come asks again for itself: this caller's deadline or departure is not theirs.
            for n, future in futures.items():
                future.cancel()
                self._under_way.pop(keys[n] or b"", None)
        return result

    async def _keep(self, pipeline: Pipeline, key: bytes | None, outcome: Row | EngineError) -> None:
        if key is None or pipeline.spec.cache is None or isinstance(outcome, EngineError):
            return
        if (stored := encode_row(outcome)) is not None:
            await self._cache.set(key, stored, pipeline.spec.cache.ttl_s)

    async def _joined(
        self,
        future: asyncio.Future[Row | EngineError],
        pipeline: Pipeline,
        inputs: Inputs,
        request: RequestContext,
        infer: Infer,
        row: int,
    ) -> Row | EngineError:
        """The answer of an equal request under way; if that one was abandoned or came too late, one of our own."""
        await asyncio.wait([future], timeout=request.remaining_s())
        if future.done() and not future.cancelled() and not isinstance(future.result(), INDIVISIBLE):
            return future.result()
        return (await infer(pipeline.ref, _picked(inputs, [row]), request)).outcomes()[0]


def _picked(inputs: Inputs, rows: list[int]) -> Inputs:
    return Inputs({name: pick_rows(column, rows) for name, column in inputs.columns.items()}, len(rows))


def _result(pipeline: Pipeline, rows: list[Row | EngineError | None], fresh: Result | None) -> Result:
    """One result of rows that come from several places."""
    columns: dict[str, list[Any]] = {name: [] for name in pipeline.outputs}
    picks: list[int | EngineError] = []
    for row in rows:
        if isinstance(row, EngineError) or row is None:
            picks.append(row or Internal("the row was lost"))
            continue
        picks.append(len(columns[next(iter(columns))]) if columns else 0)
        for name, values in columns.items():
            values.append(row[name])
    whole: Mapping[str, Column] = {name: as_column(values) for name, values in columns.items()}
    timing = fresh.timing if fresh else Timing(batch_size=len(rows))
    ready = range(len(rows)) if all(isinstance(pick, int) for pick in picks) else picks
    return Result(pipeline.ref, whole, ready, timing, fresh.queue_s if fresh else 0.0, cached=fresh is None)


def row_keys(pipeline: Pipeline, inputs: Inputs, options: Mapping[str, Any]) -> list[bytes | None]:
    """A 256-bit digest for each row over pipeline, version, model digest, options and the row's inputs.

    Inputs count as the model gets them, so that it does not matter how a number was written. A row without a key
    (it does not fit, or holds an object that bytes cannot stand for) is answered without the cache.
    """
    keys: list[bytes | None] = [None] * inputs.rows
    start = hashlib.blake2b(repr((pipeline.ref.name, pipeline.ref.version, pipeline.digest)).encode(), digest_size=32)
    if (encoded := _encoded(options)) is None:
        return keys
    start.update(encoded)
    taken = coerce(Batch(inputs.columns, inputs.rows), pipeline.inputs)
    names = sorted(taken.columns)
    for row, position in enumerate(taken.positions or range(taken.size)):
        parts = _encoded([(name, taken.columns[name][row]) for name in names])
        if parts is not None:
            digest = start.copy()
            digest.update(parts)
            keys[position] = digest.digest()
    return keys


def _encoded(value: Any) -> bytes | None:
    try:
        return _encoder.encode(value)
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError):
        return None


_ARRAY = 1


def _to_msgpack(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        inner = _encoder.encode((value.dtype.str, value.shape, value.tobytes()))
        return msgspec.msgpack.Ext(_ARRAY, inner)
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"a {type(value).__name__} cannot be kept")


def _from_msgpack(code: int, data: memoryview) -> Any:
    dtype, shape, raw = msgspec.msgpack.decode(data)
    array = np.frombuffer(raw, dtype=dtype).reshape(shape)
    return array if array.ndim else array[()]


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_msgpack)
_decoder = msgspec.msgpack.Decoder(ext_hook=_from_msgpack)


def encode_row(row: Row) -> bytes | None:
    """A row as bytes; None for one that holds something that cannot be kept (a picture, say)."""
    return _encoded(row)


def decode_row(stored: bytes) -> Row:
    """The row that `encode_row` kept, arrays with their dtype and shape."""
    row: Row = _decoder.decode(stored)
    return row
