"""How do columns of numbers get to a model's process and back? Through memory that both have mapped.

A segment is a file without a name: nothing of it is left, in ``/dev/shm`` or elsewhere, once both processes have let
go of it, however they ended. It only grows.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np

from headrace.domain.tensors import Array, Column
from headrace.infra.isolation.wire import Answer, Broken, Packed, Room

SMALLEST: Final = 65_536
ALIGNMENT: Final = 64
MOST_LENT: Final = 4
"""Answers that may stand in shared memory at a time because somebody still reads them; more are copied out."""
_EVERYTHING: Final = 2**62


class Segment:
    """Shared memory behind the file descriptor *fd*, which both processes have."""

    def __init__(self, fd: int | None = None) -> None:
        """A new one, or with *fd* the other end of one."""
        self.fd = os.memfd_create("headrace-columns") if fd is None else fd
        self.size = 0
        self.memory: mmap.mmap | None = None

    def reserve(self, size: int) -> None:
        """Have room for *size* bytes. Views of the memory stay what they are."""
        if size <= self.size:
            return
        grown = max(SMALLEST, 1 << (size - 1).bit_length())  # a page costs nothing before it is written to
        os.ftruncate(self.fd, grown)
        self.follow(grown)

    def follow(self, size: int) -> None:
        """See what the other side has made room for."""
        if size <= self.size:
            return
        if os.fstat(self.fd).st_size < size:  # to touch what is not there would end the process
            raise Broken(f"shared memory of {size} bytes that is not there")
        self.memory = mmap.mmap(self.fd, size)
        self.size = size

    def close(self) -> None:
        """Let go; what is still read stays until it is not."""
        self.memory = None
        self.size = 0
        os.close(self.fd)

    def array(self, column: Packed) -> Array:
        """A view of a column in this memory. Raises Broken for one that lies outside it."""
        return _view(column, self.memory, self.size, column.offset)


def pack(columns: Mapping[str, Column], segment: Segment, room: Room) -> tuple[list[Packed], int, int]:
    """Write *columns* of numbers into *room* of *segment*, once; the others become values.

    Returns the columns, and where those in the memory begin and how many bytes they take.
    """
    packed: list[Packed] = []
    size = 0
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and not column.dtype.hasobject:
            packed.append(Packed(name, column.dtype.str, column.shape, size))
            size += -(-column.nbytes // ALIGNMENT) * ALIGNMENT
        else:
            packed.append(Packed(name, values=column))
    start = room.start if size <= room.size else room.tail
    segment.reserve(start + size)
    for one in packed:
        if one.dtype:
            one.offset += start
            np.copyto(segment.array(one), columns[one.name])
    return packed, start, size


def unpacked(columns: list[Packed], segment: Segment) -> dict[str, Any]:
    """*columns* as they were packed; numbers as views of *segment*."""
    return {one.name: segment.array(one) if one.dtype else one.values for one in columns}


WHOLE: Final = Room(0, _EVERYTHING, 0)
"""The room in a segment of which nothing is in use."""


class Lent:
    """The parts of an answers' segment that somebody still reads: the next answer must not be written there.

    An answer is handed out as it stands in the memory. Its part is free again when the last array over it is gone.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._parts: dict[int, int] = {}
        self._readers: dict[int, weakref.ref[Array]] = {}
        self._returned: deque[int] = deque()  # by whichever thread drops the last array

    def room(self) -> Room:
        """Where the next answer may be written."""
        while self._returned:
            start = self._returned.popleft()
            del self._parts[start], self._readers[start]
        if not self._parts:
            return WHOLE
        gap_start = gap = end = 0
        for start in sorted(self._parts):
            if start - end > gap:
                gap_start, gap = end, start - end
            end = start + self._parts[start]
        return Room(gap_start, gap, end)

    def columns(self, answer: Answer) -> dict[str, Any]:
        """The columns of *answer*. Raises Broken when it is not where it says."""
        self._segment.follow(answer.memory)
        if answer.size == 0:
            return unpacked(answer.columns, self._segment)
        if len(self._parts) >= MOST_LENT:
            return {name: _own(value) for name, value in unpacked(answer.columns, self._segment).items()}
        part = self._segment.array(Packed("answer", "|u1", (answer.size,), answer.start))
        self._lend(answer, part)
        return {one.name: _within(one, part, answer.start) if one.dtype else one.values for one in answer.columns}

    def _lend(self, answer: Answer, part: Array) -> None:
        start, returned = answer.start, self._returned
        if start in self._parts:
            raise Broken("an answer over one that is still read")
        self._parts[start] = answer.size
        self._readers[start] = weakref.ref(part, lambda _: returned.append(start))


def _within(column: Packed, part: Array, start: int) -> Array:
    return _view(column, part, part.size, column.offset - start)


def _view(column: Packed, memory: mmap.mmap | Array | None, size: int, offset: int) -> Array:
    try:
        dtype = np.dtype(column.dtype)
        count = prod(column.shape)
        if dtype.hasobject or min(column.shape, default=0) < 0 or offset < 0 or offset + count * dtype.itemsize > size:
            raise ValueError(f"{column.dtype} {column.shape} at {offset} of {size} bytes")
        if count == 0:
            return np.empty(column.shape, dtype)
        return np.ndarray(column.shape, dtype, memory, offset)
    except (TypeError, ValueError) as error:
        raise Broken(f"the column {column.name!r} is not in the shared memory: {error}") from error


def _own(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
