"""What are the classes called? Names from a list or a mapping, and whether they fit the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace.domain.errors import ModelFailure
from headrace.domain.tensors import TensorSpec

Labels = list[str] | Mapping[int | str, str]
"""The names of the classes in order, or by number: ``[cat, dog]`` or ``{0: cat, 1: dog}``."""


def class_name(labels: Labels | None) -> Callable[[int], str]:
    """The function from a class's number to its name; without *labels* that is the number itself, as text.

    It raises ModelFailure for a number that has no name.
    """
    if labels is None:
        return str
    known = dict(enumerate(labels)) if isinstance(labels, list) else {int(key): name for key, name in labels.items()}

    def name(number: int) -> str:
        if number not in known:
            raise ModelFailure(f"class {number} has no name; labels name {len(known)} classes")
        return known[number]

    return name


def check_labels(labels: Labels | None, scores: TensorSpec | None = None) -> None:
    """Raise ValueError when *labels* are not numbered, or not as many as the classes (last axis) of *scores*."""
    if labels is None:
        return
    for key in labels if isinstance(labels, Mapping) else ():
        if not str(key).removeprefix("-").isdecimal():  # -1 is the outlier of scikit-learn
            raise ValueError(f"wants the numbers of classes as keys of labels, not {key!r}")
    shape = scores.shape if scores is not None else None
    classes = shape[-1] if shape and len(shape) > 1 else -1
    if classes >= 0 and len(labels) != classes:
        raise ValueError(f"has {len(labels)} names in labels; the scores are of {classes} classes")
