"""Failures must not keep the request that they are about, and must still say where they arose."""

import gc
import traceback
from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest

from headrace.domain.errors import ModelFailure
from headrace.domain.traces import let_go


class Heavy:
    """Stands for a large body."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def held_by_its_own_frame() -> tuple[Exception, Any]:
    body = Heavy()
    try:
        raise ValueError("cause")
    except ValueError as error:
        kept = ModelFailure("failed")
        kept.__cause__ = error
    circle = {"kept": kept}
    assert circle
    return kept, ref(body)


def test_a_circle_of_an_error_and_a_frame_is_opened(no_collector: None) -> None:
    error, body = held_by_its_own_frame()
    assert body() is not None

    let_go([error])

    assert body() is None


def test_where_a_foreign_error_arose_can_still_be_read() -> None:
    error, _ = held_by_its_own_frame()

    let_go([error])
    let_go([error])

    assert error.__cause__ is not None
    shown = "".join(traceback.format_exception(error.__cause__))
    assert shown.startswith("ValueError: cause\nraised at:\n")
    assert shown.count("in held_by_its_own_frame") == 1


def test_errors_that_lead_in_a_circle_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    let_go([one, other, one])
