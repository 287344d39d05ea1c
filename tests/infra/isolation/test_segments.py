"""Are columns written once, read where they stand, and never written over while somebody reads them?"""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.infra.isolation.segments import MOST_LENT, WHOLE, Lent, Segment, pack, unpacked
from headrace.infra.isolation.wire import Answer, Broken, Packed


@pytest.fixture
def segment() -> Iterator[Segment]:
    one = Segment()
    yield one
    one.close()


def other_end(segment: Segment) -> Segment:
    other = Segment(os.dup(segment.fd))
    other.follow(segment.size)
    return other


COLUMNS = st.dictionaries(
    st.text(max_size=3), arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_side=0, max_side=4)), max_size=4
)


@given(COLUMNS)
def test_the_other_side_sees_what_was_packed(columns: dict[str, np.ndarray]) -> None:
    segment = Segment()
    packed, _, _ = pack(columns, segment, WHOLE)
    other = other_end(segment)

    seen = unpacked(packed, other)

    assert list(seen) == list(columns)
    for name, column in columns.items():
        assert (seen[name].dtype, seen[name].shape) == (column.dtype, column.shape)
        assert seen[name].tobytes() == column.tobytes()
        assert not column.size or not seen[name].flags.owndata
    segment.close()
    other.close()


def test_the_same_memory_is_seen_after_it_grew(segment: Segment) -> None:
    small, _, _ = pack({"x": np.arange(4)}, segment, WHOLE)
    view = unpacked(small, segment)["x"]

    pack({"x": np.arange(100_000)}, segment, WHOLE)

    assert view.tolist() == [0, 1, 2, 3]
    assert segment.size >= 800_000


def test_memory_that_the_other_side_only_claims_is_not_touched(segment: Segment) -> None:
    segment.reserve(10)

    with pytest.raises(Broken, match="not there"):
        segment.follow(2**30)
    for column in (Packed("x", "<f8", (2**40,), 0), Packed("x", "<f8", (1,), -8), Packed("x", "O", (1,), 0)):
        with pytest.raises(Broken, match="'x'"):
            segment.array(column)


def answered(lent: Lent, child: Segment, value: int, size: int) -> np.ndarray:
    """What the other side does with a room, and this side with the answer."""
    packed, start, used = pack({"y": np.full(size, value)}, child, lent.room())
    answer: np.ndarray = lent.columns(Answer(packed, child.size, start, used))["y"]
    return answer


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3)), max_size=30))
def test_no_answer_is_written_over_one_that_is_still_read(steps: list[tuple[int, int]]) -> None:
    segment = Segment()
    child = other_end(segment)
    lent = Lent(segment)
    held: list[tuple[int, np.ndarray]] = []

    for value, (size, dropped) in enumerate(steps):
        held.append((value, answered(lent, child, value, size)[::2]))
        del held[:dropped]

        assert all((answer == number).all() for number, answer in held)
    segment.close()
    child.close()


def test_an_answer_is_lent_and_one_too_many_is_copied(segment: Segment) -> None:
    child = other_end(segment)
    lent = Lent(segment)

    answers = [answered(lent, child, number, 10) for number in range(MOST_LENT + 1)]

    assert [answer.flags.owndata for answer in answers] == [False] * MOST_LENT + [True]
    child.close()


def test_a_room_is_free_again_when_the_last_view_of_its_answer_is_gone(segment: Segment) -> None:
    child = other_end(segment)
    lent = Lent(segment)
    answer = answered(lent, child, 1, 10)
    part = answer[3:5]
    del answer

    assert lent.room().tail > 0
    del part

    assert lent.room() == WHOLE
    child.close()


def test_an_answer_outlives_its_memory() -> None:
    segment = Segment()
    child = other_end(segment)
    answer = answered(Lent(segment), child, 7, 10)

    segment.close()
    child.close()

    assert answer.tolist() == [7] * 10


def test_an_answer_that_lies_elsewhere_is_refused(segment: Segment) -> None:
    segment.reserve(1000)
    lent = Lent(segment)

    with pytest.raises(Broken):
        lent.columns(Answer([Packed("y", "<f8", (100,), 0)], segment.size, 0, 64))
    with pytest.raises(Broken):
        lent.columns(Answer([Packed("y", "<f8", (1,), 0)], segment.size, 2**40, 64))
