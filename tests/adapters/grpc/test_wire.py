"""Is what is found without decoding what protobuf finds?"""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.wire import field, opening, split

TEXTS = st.text(max_size=20)
PARAMETERS = st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1), max_size=2)
TENSORS = st.lists(st.tuples(TEXTS, TEXTS, st.lists(st.integers(-1, 1000), max_size=3), PARAMETERS), max_size=3)
VALUES = st.lists(st.binary(max_size=300), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> messages.ModelInferRequest:
    found = messages.ModelInferRequest(
        model_name=draw(TEXTS), model_version=draw(TEXTS), id=draw(TEXTS), raw_input_contents=draw(VALUES)
    )
    for key, value in draw(PARAMETERS).items():
        found.parameters[key].int64_param = value
    for name, datatype, shape, parameters in draw(TENSORS):
        tensor = found.inputs.add(name=name, datatype=datatype, shape=shape)
        for key, value in parameters.items():
            tensor.parameters[key].int64_param = value
    for name in draw(st.lists(TEXTS, max_size=2)):
        found.outputs.add(name=name)
    return found


@given(requests())
def test_head_id_and_values_are_those_that_protobuf_reads(request: messages.ModelInferRequest) -> None:
    parts = split(request.SerializeToString())

    if parts is None:
        assert not request.id.isascii()
        return
    head, request_id, values = parts
    assert request_id.decode() == request.id
    assert [bytes(value) for value in values] == list(request.raw_input_contents)
    request.ClearField("id")
    request.ClearField("raw_input_contents")
    assert messages.ModelInferRequest.FromString(head) == request


@given(requests(), requests())
def test_fields_may_come_in_any_order(one: messages.ModelInferRequest, other: messages.ModelInferRequest) -> None:
    joined = one.SerializeToString() + other.SerializeToString()
    whole = messages.ModelInferRequest.FromString(joined)

    parts = split(joined)

    if parts is not None:
        assert parts[1].decode() == whole.id
        assert [bytes(value) for value in parts[2]] == list(whole.raw_input_contents)
        assert list(messages.ModelInferRequest.FromString(parts[0]).inputs) == list(whole.inputs)


@given(requests(), st.data())
def test_a_message_that_ends_early_is_left_to_protobuf(
    request: messages.ModelInferRequest, data: st.DataObject
) -> None:
    whole = request.SerializeToString()
    cut = whole[: data.draw(st.integers(0, len(whole)))]

    if split(cut) is not None:
        messages.ModelInferRequest.FromString(cut)


@given(st.binary(max_size=200))
def test_any_bytes_are_split_or_left(message: bytes) -> None:
    parts = split(message)

    if parts is None:
        return
    try:
        whole = messages.ModelInferRequest.FromString(message)
    except DecodeError:
        return  # something inside a field is wrong: seen when the head is decoded
    assert [bytes(value) for value in parts[2]] == list(whole.raw_input_contents)


@pytest.mark.parametrize("message", [b"\x3a", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x3a\x05ab", b"\x38\x01"])
def test_garbage_is_left(message: bytes) -> None:
    assert split(message) is None


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2**28])
def test_lengths_are_written_as_protobuf_writes_them(length: int) -> None:
    written = opening(6, length)

    assert written[0] == 6 << 3 | 2
    assert sum((byte & 127) << (7 * place) for place, byte in enumerate(written[1:])) == length
    assert all(byte > 127 for byte in written[1:-1]) and written[-1] < 128


def test_a_field_is_its_opening_and_its_content() -> None:
    assert messages.ModelInferResponse.FromString(field(3, b"q-1")).id == "q-1"
