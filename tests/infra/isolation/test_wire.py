"""Does what a server and a model's process say to each other arrive as it was said, or not at all?"""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.domain.errors import EngineError, ModelFailure, Overloaded
from headrace.infra.isolation.wire import (
    FROM_PROCESS,
    TO_PROCESS,
    Answer,
    Broken,
    Call,
    End,
    Failed,
    Packed,
    Room,
    Silent,
    encode,
    error_of,
    failed,
    receive,
    send,
    wait_at_most,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = arrays.arrays(
    st.one_of(arrays.scalar_dtypes(), arrays.unicode_string_dtypes()), arrays.array_shapes(max_side=3)
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def returned(values: Any) -> Any:
    answer = FROM_PROCESS.decode(encode(Answer([Packed("x", values=values)], 0)))
    assert isinstance(answer, Answer)
    return answer.columns[0].values


@given(PLAIN)
def test_plain_values_arrive_as_they_are(value: Any) -> None:
    assert returned(value) == value


@given(st.lists(NUMBERS, min_size=1, max_size=3))
def test_arrays_inside_lists_keep_their_type_and_shape(values: list[Any]) -> None:
    for one, other in zip(values, returned(values), strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        other.reshape(-1)[:1] = other.reshape(-1)[:1]  # whoever gets it may write to it


def test_arrays_of_texts_and_scalars_and_times_arrive() -> None:
    texts = np.array([["a", "bc"], ["", "d"]], dtype=object)
    now = datetime.now(UTC)

    back, number, time = returned([texts, np.float16(1.5), now])

    assert back.dtype == object
    assert back.tolist() == texts.tolist()
    assert (number, number.dtype, time) == (1.5, np.float16, now)


@pytest.mark.parametrize("value", ["\ud800", 2**64, object(), {"a": [2**70]}])
def test_what_cannot_travel_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(Answer([Packed("x", values=[value])], 0))


def test_a_long_message_arrives_in_many_parts(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    sent = Answer([Packed("x", values=["word " * 200_000])], 0)
    writer = Thread(target=send, args=(one, sent))
    writer.start()

    assert receive(other, FROM_PROCESS) == sent
    writer.join()


def test_a_side_that_is_gone_is_told_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    one.sendall(b"\x05\x00")
    one.close()

    with pytest.raises(Broken, match="closed"):
        receive(other, FROM_PROCESS)
    with pytest.raises(Broken):
        send(other, End())


def test_a_side_that_is_silent_is_waited_for_as_long_as_was_said(ends: tuple[socket.socket, socket.socket]) -> None:
    wait_at_most(ends[0], 0.05)

    with pytest.raises(Silent):
        receive(ends[0], FROM_PROCESS)


@pytest.mark.parametrize(
    "content",
    [
        (7).to_bytes(8, "little") + b"nothing",
        (2**62).to_bytes(8, "little") + b"x",
        (3).to_bytes(8, "little") + encode([1, 2]),
    ],
)
def test_what_makes_no_sense_breaks_the_channel(content: bytes, ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(content)

    with pytest.raises(Broken):
        receive(ends[1], FROM_PROCESS)


def test_a_call_keeps_its_room_and_deadline() -> None:
    call = Call([Packed("x", "<f4", (2, 3), 64)], 65_536, Room(0, 128, 256), 12.5, True)

    assert TO_PROCESS.decode(encode(call)) == call


def test_every_error_of_ours_comes_back_as_itself() -> None:
    for kind in EngineError.__subclasses__():
        back = error_of(FROM_PROCESS.decode(encode(failed(kind("why", details={"a": 1}), ""))))  # type: ignore[arg-type]

        assert isinstance(back, kind)
        assert (back.message, back.details, back.code) == ("why", {"a": 1}, kind.code)


def test_details_that_cannot_travel_stay_behind() -> None:
    back = error_of(failed(Overloaded("full", retry_after_s=3.0, details={"a": object()}), ""))

    assert isinstance(back, Overloaded)
    assert (back.details, back.retry_after_s) == (None, 3.0)


def test_an_error_of_a_code_that_nobody_knows_is_the_models() -> None:
    assert isinstance(error_of(Failed("no_such_code", "why")), ModelFailure)


def test_nothing_is_pickled() -> None:
    with pytest.raises(msgspec.MsgspecError):
        FROM_PROCESS.decode(b"\x80\x04\x95")
