"""What is asked of every server: a model, the rows that are sent, and the answers that are right."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import models
from bench.doors import PICTURE, Row
from bench.peers.onnx_rows import Rows

SENTENCES = Path(__file__).with_name("sentences.txt")


@dataclass(frozen=True, slots=True)
class Work:
    """A model with the rows that clients send, round robin.

    *name* is also that of the folder under bench/workspaces that configures Headrace for it; *model* is the name in
    requests; *threads* is what one process of a peer gives the model when it has the machine to itself: two, or one
    where a second thread would have nothing to do.
    """

    name: str
    model: str
    file: Path
    rows: Sequence[Row]
    threads: int

    def expected(self) -> np.ndarray:
        """The answer to the first row, float32, flat, as ONNX Runtime gives it in this process."""
        return Rows(str(self.file))(self.rows[:1]).ravel()


NAMES = ("tiny", "medium", "minilm")


@functools.cache
def work(name: str) -> Work:
    """The work called *name*, its model built if need be. Raises KeyError for an unknown name."""
    return {
        "tiny": lambda: Work("tiny", "tiny", models.tiny(), [numbers(models.TINY_INPUT)], threads=1),
        "tiny-cached": lambda: Work("tiny-cached", "tiny", models.tiny(), [numbers(models.TINY_INPUT)], threads=1),
        "medium": lambda: Work("medium", "medium", models.medium(), [numbers(models.MEDIUM_INPUT)], threads=2),
        "image": lambda: Work("image", "image", models.wide(), [numbers(math.prod(PICTURE))], threads=1),
        "minilm": lambda: Work("minilm", "minilm", models.minilm(), sentences(), threads=2),
    }[name]()


def numbers(count: int) -> list[float]:
    """*count* numbers between 0 and 1 with four decimals, the same ones every time."""
    drawn: list[float] = np.random.default_rng(7).random(count).round(4).tolist()
    return drawn


def sentences() -> list[Row]:
    """Short English sentences, some ten tokens each."""
    return list(SENTENCES.read_text(encoding="utf-8").splitlines())
