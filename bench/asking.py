"""How is one server asked for one piece of work: a first question with a right answer, and then many at a time?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.cells import Cell
from bench.load import Load, closed_loop, given_rate
from bench.running import Question, post
from bench.servers import Server
from bench.work import Work


@dataclass(frozen=True, slots=True)
class Asking:
    """A server and the rows that it is asked for."""

    server: Server
    work: Work

    def bodies(self) -> list[bytes]:
        """The body of every row."""
        return [self.server.door.encode(row) for row in self.work.rows]

    def question(self) -> Question:
        """The first row, judged by ONNX Runtime; an echo must return what it was sent."""
        body = self.bodies()[0]
        is_right: Callable[[bytes], bool] = body.__eq__ if self.server.echoes else self._judge()
        return Question(lambda port: post(port, self._path(), body, self._headers(body)), is_right)

    def load(self, port: int, cell: Cell, *, rate: float, seconds: int) -> Load:
        """Load of the kind and strength that *cell* names. Raises LoadFailed."""
        bodies, url = self.bodies(), f"http://127.0.0.1:{port}{self._path()}"
        headers = self._headers(bodies[0])
        if cell.paced:
            return given_rate(url, bodies[0], headers, rate=rate, seconds=seconds)
        return closed_loop(url, bodies, headers, connections=cell.connections, seconds=seconds)

    def _headers(self, body: bytes) -> Mapping[str, str]:
        return self.server.door.headers(body)

    def _path(self) -> str:
        return self.server.path.format(model=self.work.model)

    def _judge(self) -> Callable[[bytes], bool]:
        return functools.partial(is_close, self.work.expected(), self.server.door.decode)


def is_close(expected: np.ndarray, decode: Callable[[bytes], np.ndarray], answer: bytes) -> bool:
    """Whether *answer* holds the *expected* numbers, within what differing batches do to their last digits."""
    try:
        found = decode(answer)
    except (ValueError, KeyError, IndexError, TypeError):
        return False
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=1e-4, atol=1e-5))
