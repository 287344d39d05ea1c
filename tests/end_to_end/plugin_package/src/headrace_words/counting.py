"""How many words has a text, and how long is the longest?"""

from collections.abc import Sequence

import numpy as np

from headrace import TensorSpec, step
from headrace.domain.errors import InvalidInput


@step(reads={"text": TensorSpec("string")}, writes={"words": TensorSpec("float32")})
def count(text: Sequence[str], *, at_least: int = 1) -> np.ndarray:
    """How many words of *at_least* so many letters each text has."""
    return np.array([sum(len(word) >= at_least for word in one.split()) for one in text], dtype=np.float32)


@step(per="row", reads={"text": TensorSpec("string")}, writes={"longest": TensorSpec("int64")})
def longest(text: str) -> np.int64:
    """The length of the longest word; a text without any is refused."""
    words = text.split()
    if not words:
        raise InvalidInput("the text has no words")
    return np.int64(max(map(len, words)))
