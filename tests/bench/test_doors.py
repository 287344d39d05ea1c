"""Does a row arrive as it was sent, whatever the door?"""

import json

import numpy as np
import pytest
from bench.doors import LISTED, PICTURE, PLAIN, V2, V2_BINARY

from bench import grpc_messages


def test_a_row_of_numbers_and_a_text_have_a_body_at_every_door() -> None:
    assert PLAIN.encode([1.0, 2.5]) == b'{"x":[1.0,2.5]}'
    assert PLAIN.encode("hi") == b'{"text":"hi"}'
    assert LISTED.encode([1.0]) == b'{"x":[[1.0]]}'
    assert json.loads(V2.encode("hi")) == {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]
    }


def test_answers_are_read_alike_from_every_door() -> None:
    answers = [
        PLAIN.decode(b'{"y":[1,2]}'),
        LISTED.decode(b"[[1,2]]"),
        V2.decode(b'{"outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'),
        V2_BINARY.decode(b'{"outputs":[{"name":"y"}]}' + np.array([1, 2], "<f4").tobytes()),
    ]

    assert all(one.tolist() == [1.0, 2.0] for one in answers)


def test_a_picture_keeps_its_shape_and_a_vector_has_none() -> None:
    picture, vector = (json.loads(V2.encode([0.5] * size))["inputs"][0] for size in (np.prod(PICTURE), 3))

    assert (picture["shape"], vector["shape"]) == ([1, *PICTURE], [1, 3])


def test_the_header_of_a_binary_body_says_where_its_json_ends() -> None:
    body = V2_BINARY.encode([1.0, 2.0])

    length = int(V2_BINARY.headers(body)["Inference-Header-Content-Length"])

    assert json.loads(body[:length])["inputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(body[length:], "<f4").tolist() == [1.0, 2.0]


def test_a_grpc_message_holds_the_row_and_its_frame_the_length() -> None:
    message = grpc_messages.request("medium", "x", [0.5] * 784)

    fields = dict(grpc_messages._fields(message))

    assert fields[1] == b"medium" and len(fields[7]) == 3136
    assert grpc_messages.framed(message)[:5] == b"\0" + len(message).to_bytes(4, "big")


def test_grpc_answers_are_read_raw_and_typed() -> None:
    numbers, field = np.array([1, 2], "<f4").tobytes(), grpc_messages._field
    raw = field(1, b"tiny") + field(5, field(1, b"y")) + field(6, numbers)
    typed = field(1, b"tiny") + field(5, field(1, b"y") + field(5, field(6, numbers)))

    assert grpc_messages.answer(raw).tolist() == grpc_messages.answer(typed).tolist() == [1.0, 2.0]


def test_a_grpc_answer_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="no float32"):
        grpc_messages.answer(grpc_messages._field(1, b"tiny"))
