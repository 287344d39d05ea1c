"""Keeps answers of equal inputs: row by row, under a key that changes with everything the answer depends on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from headrace.domain.batch import Row, pick_rows
from headrace.domain.errors import EngineError
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
        waiting = {n: self._under_way[key] for n, key in enumerate(keys) if rows[n] is None and key in self._under_way}
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

    async def _kept(self, key: bytes) -> Row | None:
        stored = await self._cache.get(key)
        return None if stored is None else decode_row(stored)

    async def _infer_missing(
        self,
        pipeline: Pipeline,
        inputs: Inputs,
        request: RequestContext,
        infer: Infer,
        keys: list[bytes],
        missing: list[int],
        rows: list[Row | EngineError | None],
    ) -> Result:
        loop = asyncio.get_running_loop()
        futures: dict[int, asyncio.Future[Row | EngineError]] = {}
        for n in missing:
            if keys[n] not in self._under_way:
                futures[n] = self._under_way[keys[n]] = loop.create_future()
        asked = inputs if len(missing) == inputs.rows else _picked(inputs, missing)
        try:
            result = await infer(pipeline.ref, asked, request)
        except BaseException as error:
            # Whoever joined asks again for itself: this caller's deadline or departure is not theirs.
            for future in futures.values():
                future.cancel()
            raise error
        finally:
            for n in futures:
                self._under_way.pop(keys[n], None)
        ttl_s = pipeline.spec.cache.ttl_s if pipeline.spec.cache else 0.0
        for n, outcome in zip(missing, result.outcomes(), strict=True):
            rows[n] = outcome
            if n in futures and not futures[n].done():
                futures[n].set_result(outcome)
            if not isinstance(outcome, EngineError) and (stored := encode_row(outcome)) is not None:
                await self._cache.set(keys[n], stored, ttl_s)
        return result

    async def _joined(
        self,
        future: asyncio.Future[Row | EngineError],
        pipeline: Pipeline,
        inputs: Inputs,
        request: RequestContext,
        infer: Infer,
        row: int,
    ) -> Row | EngineError:
        """The answer of an equal request under way; if that one was abandoned, one of our own."""
        remaining = request.remaining_s()
        await asyncio.wait([future], timeout=remaining)
        if future.done() and not future.cancelled():
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
            picks.append(row or EngineError("the row was lost"))
            continue
        picks.append(len(columns[next(iter(columns))]) if columns else 0)
        for name, values in columns.items():
            values.append(row[name])
    whole: Mapping[str, Column] = {name: as_column(values) for name, values in columns.items()}
    timing = fresh.timing if fresh else Timing(batch_size=len(rows))
    ready = range(len(rows)) if all(isinstance(pick, int) for pick in picks) else picks
    return Result(pipeline.ref, whole, ready, timing, fresh.queue_s if fresh else 0.0, cached=fresh is None)


def row_keys(pipeline: Pipeline, inputs: Inputs, options: Mapping[str, Any]) -> list[bytes]:
    """A 256-bit digest for each row over pipeline, version, model digest, options and the row's inputs."""
    start = hashlib.blake2b(digest_size=32)
    start.update(repr((pipeline.ref.name, pipeline.ref.version, pipeline.digest)).encode())
    start.update(_encoder.encode(options))
    keys = []
    for row in range(inputs.rows):
        digest = start.copy()
        for name in sorted(inputs.columns):
            digest.update(_canonical(name, inputs.columns[name][row], pipeline))
        keys.append(digest.digest())
    return keys


def _canonical(name: str, value: Any, pipeline: Pipeline) -> bytes:
    """Equal values of an input as equal bytes, whether they came as lists, numbers or arrays."""
    spec = pipeline.inputs.get(name)
    if spec is not None and spec.numeric:
        try:
            array = np.asarray(value)
            if array.dtype.kind in "fiub":
                # Compared as sent: 1 and 1.0 read alike, 0.1 as float32 and as float64 do not.
                exact = array if array.dtype.kind == "f" else array.astype(np.float64 if _small(array) else array.dtype)
                return _encoder.encode((name, exact.dtype.str, exact.shape, exact.tobytes()))
        except (ValueError, TypeError, OverflowError):
            pass  # a value that is no tensor fails later, alone; its key only has to be its own
    try:
        return _encoder.encode((name, value))
    except (NotImplementedError, TypeError, OverflowError, RecursionError):
        return repr((name, value)).encode("utf-8", "surrogatepass")


def _small(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind == "b" or array.size == 0 or (abs(int(array.min())) < 2**53 and int(array.max()) < 2**53)


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
    try:
        return _encoder.encode(row)
    except (NotImplementedError, TypeError, OverflowError, RecursionError):
        return None


def decode_row(stored: bytes) -> Row:
    """The row that `encode_row` kept, arrays with their dtype and shape."""
    row: Row = _decoder.decode(stored)
    return row
