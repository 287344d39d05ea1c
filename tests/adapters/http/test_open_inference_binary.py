"""Do raw tensors travel both ways beside JSON, and does the raw form of a request fill the one input?"""

import gzip
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from headrace.adapters.http.open_inference_bodies import WORTH_PLACING, read_tensors
from headrace.adapters.http.open_inference_requests import read_binary
from headrace.adapters.open_inference.raw import array_of
from headrace.domain.tensors import TensorSpec

HEAD = "inference-header-content-length"
OCTETS = "application/octet-stream"


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def sized(name: str, shape: list[int], raw: bytes, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}


def body_of(inputs: list[Any], *raws: bytes, **more: Any) -> tuple[bytes, int]:
    """A body, and how long its JSON is."""
    told = json.dumps({"inputs": inputs, **more}).encode()
    return b"".join([told, *raws]), len(told)


async def infer(client: Any, body: bytes, head: int, model: str = "double", **headers: str) -> Any:
    sent = {"content-type": OCTETS, HEAD: str(head), **headers}
    return await client.post(f"/v2/models/{model}/infer", content=body, headers=sent)


def parted(answer: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer, and what stands behind it."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == OCTETS
    head = int(answer.headers[HEAD])
    return json.loads(answer.content[:head]), answer.content[head:]


async def test_a_raw_tensor_is_answered_in_json_unless_asked_otherwise(client: Any) -> None:
    raw = floats(1, 2)

    answer = await infer(client, *body_of([sized("x", [1, 2], raw)], raw))

    assert HEAD not in answer.headers
    assert answer.json()["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}]


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": False}, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    ],
    ids=["request", "output", "output before request"],
)
async def test_an_answer_is_raw_where_it_is_asked_for(client: Any, more: Mapping[str, Any]) -> None:
    raw = floats(1, 2, 3, 4)

    told, tail = parted(await infer(client, *body_of([sized("x", [2, 2], raw)], raw, **more)))

    output = {"name": "y", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    assert told == {"model_name": "double", "model_version": "1", "outputs": [output]}
    assert tail == floats(2, 4, 6, 8)


async def test_an_output_in_json_stands_beside_raw_ones(client: Any) -> None:
    outputs = [{"name": "size", "parameters": {"binary_data": False}}, {"name": "copy"}, {"name": "prediction"}]
    given = {"name": "image", "shape": [2], "datatype": "BYTES", "data": ["hi", "you"]}
    more = {"parameters": {"binary_data_output": True}, "outputs": outputs}

    body, _ = body_of([given], **more)
    told, tail = parted(await client.post("/v2/models/measure/infer", content=body))

    size, copy, prediction = told["outputs"]
    assert size["data"] == [2, 3]
    assert (copy["datatype"], copy["parameters"]) == ("BYTES", {"binary_data_size": 13})
    assert tail[:13] == b"\x02\x00\x00\x00hi\x03\x00\x00\x00you"
    assert prediction["parameters"] == {"content_type": "json", "binary_data_size": len(tail) - 13}
    assert json.loads(tail[17 : 17 + struct.unpack_from("<I", tail, 13)[0]])["class_name"] == "dog"


async def test_tensors_in_json_and_raw_meet_in_one_request(open_house: Any, connect: Any, add: Any) -> None:
    raw = floats(1, 2)
    in_json = {"name": "b", "shape": [2], "datatype": "FP32", "data": [10, 20]}

    async with open_house([add]) as house, connect(house.app) as client:
        for inputs in ([sized("a", [2], raw), in_json], [in_json, sized("a", [2], raw)]):
            answer = await infer(client, *body_of(inputs, raw), model="add")

            assert answer.json()["outputs"][0]["data"] == [11.0, 22.0]


async def test_integers_stand_for_floats_as_they_do_in_json(client: Any) -> None:
    raw = np.array([1, 2], "<i8").tobytes()

    answer = await infer(client, *body_of([sized("x", [1, 2], raw, "INT64")], raw))

    assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]


async def test_classes_come_raw_or_in_json(client: Any) -> None:
    raw = floats(0.25, 0.75)
    wanted = {"name": "y", "parameters": {"classification": 1}}

    in_json = await infer(client, *body_of([sized("x", [1, 2], raw)], raw, outputs=[wanted]))
    wanted["parameters"]["binary_data"] = True  # type: ignore[index]
    _, tail = parted(await infer(client, *body_of([sized("x", [1, 2], raw)], raw, outputs=[wanted])))

    assert in_json.json()["outputs"] == [{"name": "y", "datatype": "BYTES", "shape": [1, 1], "data": ["1.5:1"]}]
    assert tail == b"\x05\x00\x00\x001.5:1"


async def test_a_model_without_a_batch_axis_takes_the_tensor_whole(client: Any) -> None:
    raw = floats(1, 2, 3, 4, 5, 6)
    more = {"parameters": {"binary_data_output": True}}

    told, tail = parted(await infer(client, *body_of([sized("m", [2, 3], raw)], raw, **more), model="transpose"))

    assert told["outputs"][0]["shape"] == [3, 2]
    assert tail == floats(1, 4, 2, 5, 3, 6)


async def test_a_failed_row_fails_a_binary_request_in_json(client: Any) -> None:
    raw = floats(1, 2, 13, 2)
    more = {"parameters": {"binary_data_output": True}}

    answer = await infer(client, *body_of([sized("x", [2, 2], raw)], raw, **more))

    assert (answer.status_code, answer.json()["code"]) == (500, "model_failure")
    assert HEAD not in answer.headers


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_packed_body_counts_unpacked(client: Any, encoding: str, pack: Any) -> None:
    raw = floats(*np.arange(20_000) + 0.5)
    body, head = body_of([sized("x", [10_000, 2], raw)], raw, parameters={"binary_data_output": True})

    answer = await infer(client, pack(body), head, **{"content-encoding": encoding, "accept-encoding": encoding})

    told, tail = parted(answer)
    assert told["outputs"][0]["shape"] == [10_000, 2]
    assert tail == floats(*2 * np.arange(20_000) + 1.0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_is_packed_badly_is_refused(client: Any, encoding: str) -> None:
    answer = await infer(client, b"not packed", 5, **{"content-encoding": encoding})

    assert answer.status_code == 400
    assert f"not valid {encoding}" in answer.json()["error"]


async def test_the_raw_form_fills_the_one_input_and_answers_raw(client: Any) -> None:
    told, tail = parted(await infer(client, floats(1, 2), 0))

    assert told["outputs"][0]["shape"] == [1, 2]
    assert tail == floats(2, 4)


@pytest.mark.parametrize(("model", "raw"), [("measure", b"\x89PNG\x00\xff"), ("shout", "ä b".encode())])
async def test_the_raw_form_takes_a_file_or_a_text_as_it_is(client: Any, model: str, raw: bytes) -> None:
    told, tail = parted(await infer(client, raw, 0, model))

    shown = {"measure": raw, "shout": "Ä B".encode()}[model]
    assert told["outputs"][0]["shape"] == [1]
    assert struct.pack("<I", len(shown)) + shown in tail


async def test_the_raw_form_fills_the_input_that_has_no_default(open_house: Any, connect: Any, add: Any) -> None:
    async with open_house([add]) as house, connect(house.app) as client:
        _, tail = parted(await infer(client, floats(5), 0, "add"))

    assert tail == floats(15)


@pytest.fixture
def odd(add: Any) -> list[Any]:
    """Models whose inputs leave more or less open."""
    recipe = type(add)
    shapes = {"free": (-1, -1), "freer": (-1, -1, -1), "unknown": None, "pairs": (-1, -1, 2)}
    made = [
        recipe(name, {"x": TensorSpec("float32", shape)}, {"n": TensorSpec("int64")}, _count)
        for name, shape in shapes.items()
    ]
    two = {"x": TensorSpec("float32"), "z": TensorSpec("float32")}
    words = {"x": TensorSpec("string", (-1, -1))}
    return [
        *made,
        recipe("two", two, {"n": TensorSpec("int64")}, _count),
        recipe("words", words, {"n": TensorSpec("int64")}, _count),
        recipe("whole", {"x": TensorSpec("float32", (-1, 2))}, {"n": TensorSpec("int64", (1,))}, _sizes, batched=False),
    ]


def _count(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"n": np.array([np.asarray(row).size for row in inputs["x"]])}


def _sizes(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"n": np.array([inputs["x"].size])}


@pytest.mark.parametrize(
    ("model", "raw", "count"), [("free", floats(*range(5)), 5), ("pairs", floats(*range(8)), 8),
                                ("whole", floats(*range(6)), 6), ("words", b"one", 1), ("free", b"", 0)],
)  # fmt: skip
async def test_the_raw_form_sizes_the_one_free_axis(
    open_house: Any, connect: Any, odd: Any, model: str, raw: bytes, count: int
) -> None:
    async with open_house(odd) as house, connect(house.app) as client:
        _, tail = parted(await infer(client, raw, 0, model))

    assert np.frombuffer(tail, "<i8").tolist() == [count]


@pytest.mark.parametrize(
    ("model", "raw", "told"),
    [
        ("freer", floats(1), "more than one free axis"),
        ("unknown", floats(1), "not known beforehand"),
        ("two", floats(1), "fills one input"),
        ("pairs", floats(1, 2, 3), "12 bytes were sent"),
        ("free", b"12345", "whole number"),
    ],
)
async def test_the_raw_form_is_refused_where_it_cannot_fill(
    open_house: Any, connect: Any, odd: Any, model: str, raw: bytes, told: str
) -> None:
    async with open_house(odd) as house, connect(house.app) as client:
        answer = await infer(client, raw, 0, model)

    assert answer.status_code in (400, 422)
    assert told in answer.json()["error"]


class Arriving:
    """A call whose body comes in pieces; of a real one only what reads a body is here."""

    def __init__(self, announced: int, *pieces: bytes | None) -> None:
        self.headers = {b"content-length": str(announced).encode()}
        self.closing = False
        self.stopwatch = None
        self._pieces = list(pieces)

    async def receive(self) -> dict[str, Any]:
        piece = self._pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


LONG = bytes(range(256)) * 128


async def test_a_large_tensor_is_used_where_it_lies() -> None:
    raw = floats(*range(10_000))
    body, head = body_of([sized("x", [1, 10_000], raw)], raw)
    call: Any = Arriving(len(body), body[:30_000], body[30_000:])

    arrived = await read_tensors(call, head, 1 << 20)
    array = array_of(read_binary(arrived, head).raws["x"], np.dtype("<f4"), [1, 10_000])

    assert len(body) > WORTH_PLACING
    assert np.shares_memory(array, np.frombuffer(arrived, np.uint8))
    assert array.ctypes.data % 64 == 0
    assert array.flags.writeable  # some libraries demand it of what they only read
    assert array.tobytes() == raw


@pytest.mark.parametrize("cut", [0, 1, 10_000, len(LONG)])
async def test_a_body_in_pieces_is_put_together(cut: int) -> None:
    call: Any = Arriving(len(LONG), LONG[:cut], LONG[cut:])

    body = await read_tensors(call, 7, 1 << 20)

    assert bytes(body) == LONG
    assert np.frombuffer(memoryview(body)[7:], np.uint8).ctypes.data % 64 == 0


async def test_a_body_that_is_longer_or_shorter_than_announced_does_no_harm() -> None:
    shorter: Any = Arriving(len(LONG), LONG[:20_000])
    longer: Any = Arriving(len(LONG), LONG, b"more")

    assert bytes(await read_tensors(shorter, 0, 1 << 20)) == LONG[:20_000]
    with pytest.raises(Exception, match="longer than the 32768 bytes"):
        await read_tensors(longer, 0, 1 << 20)


async def test_a_body_beyond_the_limit_is_not_read() -> None:
    call: Any = Arriving(len(LONG), LONG)

    with pytest.raises(Exception, match="may have 30000 bytes"):
        await read_tensors(call, 0, 30_000)

    assert call.closing
