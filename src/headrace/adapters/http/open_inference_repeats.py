"""Has this very request come before? Then it need not be read again, nor its kept answer written again."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.adapters.http.open_inference_requests import Wanted
from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import Column
from headrace.services.context import Inputs, Result

LARGEST_BODY: Final = 16_384
"""Bytes of a request that is remembered; of a longer one, nearly all the time goes into what is kept anyway."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of requests and answers that are remembered; those that did not come for longest leave."""
_OVERHEAD: Final = 1500
"""What a remembered request takes beside them, about: its values in lists, and the objects around them."""

Before = tuple[str, str | None, bytes | memoryview]
"""Name and version in the path, and the body."""


class Repeat:
    """A request as it was read, and the answer that was written for the kept *columns*."""

    __slots__ = ("_pipeline", "asked_id", "columns", "inputs", "wanted", "written")

    def __init__(self, pipeline: Pipeline, inputs: Inputs, wanted: Sequence[Wanted], asked_id: str | None) -> None:
        self._pipeline = weakref.ref(pipeline)  # what is remembered must not keep a model in memory
        self.inputs = inputs
        self.wanted = wanted
        self.asked_id = asked_id
        self.columns: Mapping[str, Column] | None = None
        self.written = b""

    def of(self, pipeline: Pipeline) -> bool:
        """Whether it was read for *pipeline*."""
        return self._pipeline() is pipeline


class Repeats:
    """Requests of one row of numbers to pipelines that declare a cache, byte for byte.

    Only reading and writing are saved: every request is routed, admitted, measured and looked up like any other. What
    was written is sent again only if the lookup gives the very columns that it was written for.
    """

    def __init__(self) -> None:
        self._repeats: OrderedDict[Before, Repeat] = OrderedDict()
        self._used_bytes = 0

    def __len__(self) -> int:
        return len(self._repeats)

    def find(self, pipeline: Pipeline, before: Before) -> Repeat | None:
        """What is remembered of a request to *pipeline*."""
        repeat = self._repeats.get(before)
        if repeat is None:
            return None
        if not repeat.of(pipeline):
            self._forget(before)
            return None
        self._repeats.move_to_end(before)
        return repeat

    def remember(self, pipeline: Pipeline, before: Before, repeat: Repeat, result: Result, written: bytes) -> None:
        """Remember *repeat*, whose answer from the cache was *written*, if it is one that may be sent again."""
        if not result.cached or len(before[2]) > LARGEST_BODY or not _plain(pipeline, repeat.inputs):
            return
        self._forget(before)
        repeat.columns, repeat.written = result.columns, written
        self._repeats[before] = repeat
        self._used_bytes += _cost(before, repeat)
        while self._used_bytes > MOST_BYTES:
            self._forget(next(iter(self._repeats)))

    def _forget(self, before: Before) -> None:
        if (repeat := self._repeats.pop(before, None)) is not None:
            self._used_bytes -= _cost(before, repeat)


def _cost(before: Before, repeat: Repeat) -> int:
    return 4 * len(before[2]) + len(repeat.written) + _OVERHEAD  # a number of four characters is an object of 24 bytes


def _plain(pipeline: Pipeline, inputs: Inputs) -> bool:
    """Whether *inputs* are lists of numbers, of which every batch makes arrays of its own: nothing changes them."""
    return inputs.rows == 1 and all(
        isinstance(column, list) and pipeline.inputs[name].numeric for name, column in inputs.columns.items()
    )
