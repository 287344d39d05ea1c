"""What does bad input get? The protocol's error with our code beside it, on a connection that stays usable."""

import json
from math import prod
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts.open_inference import rules
from tests.contracts.open_inference.doors import packed
from tests.contracts.open_inference.echoes import Served, rows_of
from tests.contracts.open_inference.lines import HEAD, Line
from tests.contracts.open_inference.rules import breaches

from headrace.adapters.open_inference.datatypes import DTYPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v2/models/float32-vector/infer"
RAW = packed(rows_of("float32", "vector", 2))


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def binary(raw: bytes = RAW, *, size: Any = None, head: int | None = None, **changes: Any) -> tuple[bytes, str]:
    """The body of a binary request for two rows, and what the header says of it."""
    size = len(raw) if size is None else size
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}, **changes}
    told = encoded({"inputs": [tensor]})
    return told + raw, str(len(told) if head is None else head)


def outputs(*asked: Any) -> tuple[bytes, str]:
    """A binary request that asks for these outputs."""
    tensor = {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": len(RAW)}}
    told = encoded({"inputs": [tensor], "outputs": asked})
    return told + RAW, str(len(told))


def texts(raw: bytes, shape: list[int]) -> tuple[bytes, str]:
    """A binary request with elements of BYTES."""
    return binary(raw, datatype="BYTES", shape=shape)


BAD: dict[str, tuple[tuple[bytes, str | None], int, str]] = {
    "a length that is too long": (binary(size=25), 400, "24 bytes are left for it"),
    "a length that is too short": (binary(size=20), 400, "adds up to 20"),
    "a negative length": (binary(size=-1), 400, "not negative"),
    "a huge length": (binary(size=2**62), 400, "24 bytes are left for it"),
    "a length beyond 64 bits": (binary(size=2**70), 400, ""),
    "a length that is a fraction": (binary(size=24.0), 400, "integer"),
    "a length that is a text": (binary(size="24"), 400, "integer"),
    "a length that is a truth": (binary(size=True), 400, "integer"),
    "bytes behind the last tensor": (binary(RAW + b"x", size=24), 400, "25 bytes follow"),
    "values twice": (binary(data=[1, 2, 3, 4, 5, 6]), 400, "one of the two"),
    "no values": (binary(b"", parameters={}), 400, "no values"),
    "a shape that does not match": (binary(shape=[2, 4]), 422, "32 bytes of FP32; 24 bytes"),
    "a negative shape": (binary(shape=[-2, 3]), 422, "impossible"),
    "a shape that overflows": (binary(shape=[2**40, 2**40]), 422, "impossible"),
    "a shape of nothing": (binary(b"", shape=[2**30, 2**30, 0]), 422, ""),
    "too many axes": (binary(shape=[1] * 40), 422, "impossible"),
    "a row of another shape": (binary(shape=[3, 2]), 422, "[3]"),
    "a datatype that is none": (binary(datatype="FLOAT"), 422, "datatype"),
    "a datatype that does not fit": (binary(datatype="BOOL", shape=[8, 3]), 422, "FP32, not BOOL"),
    "BYTES for numbers": (texts(b"\x01\x00\x00\x00a", [1]), 422, "FP32, not BYTES"),
    "shared memory": (binary(b"", parameters={"shared_memory_region": "r"}), 400, "shared memory"),
    "a parameter that is a list": (binary(parameters={"a": [1]}), 400, "parameters"),
    "a header beyond the body": (binary(head=10_000), 400, "the body has"),
    "a header that is negative": ((binary()[0], "-1"), 400, "number of bytes"),
    "a header that is a text": ((binary()[0], "many"), 400, "number of bytes"),
    "a header with a sign": ((binary()[0], "+5"), 400, "number of bytes"),
    "a huge header": ((binary()[0], "9" * 5000), 400, "number of bytes"),
    "an empty header": ((binary()[0], ""), 400, "number of bytes"),
    "a header that ends in the JSON": (binary(head=10), 400, "JSON"),
    "a header that ends behind the JSON": (binary(head=len(binary()[0])), 400, "JSON"),
    "no header": ((binary()[0], None), 400, "JSON"),
    "no header, and a length in the JSON": ((binary(b"", size=0)[0], None), 400, "Inference-Header-Content-Length"),
    "a raw request of another size": ((b"x" * 7, "0"), 422, "whole number"),
    "a raw request of too many values": ((b"x" * 16, "0"), 422, "12 bytes"),
    "an unknown output": (outputs({"name": "z"}), 400, "unknown output 'z'"),
    "an output twice": (outputs({"name": "x"}, {"name": "x"}), 400, "twice"),
    "binary_data that is no truth": (outputs({"name": "x", "parameters": {"binary_data": 1}}), 400, "true or false"),
    "no classes": (outputs({"name": "x", "parameters": {"classification": 0}}), 400, "at least 1"),
    "negative classes": (outputs({"name": "x", "parameters": {"classification": -1}}), 400, "not negative"),
    "an output in shared memory": (
        outputs({"name": "x", "parameters": {"shared_memory_region": "r"}}), 400, "shared memory"
    ),
    "another model in the body": ((encoded({"inputs": [], "model_name": "other"}), None), 400, "names the model"),
    "an empty body": ((b"", None), 400, "empty"),
    "an empty body with a header": ((b"", "5"), 400, "has 0 bytes"),
}  # fmt: skip

BAD_TEXTS: dict[str, tuple[bytes, str]] = {
    "a length that is cut": (b"\x01\x00\x00", "middle of an element"),
    "an element that is cut": (b"\x05\x00\x00\x00abc", "middle of an element"),
    "a length that lies": (b"\xff\xff\xff\xffabc", "middle of an element"),
    "too few elements": (b"\x01\x00\x00\x00a", "1 were sent"),
    "too many elements": (b"\x01\x00\x00\x00a" * 4, "4 were sent"),
    "no UTF-8": (b"\x01\x00\x00\x00\xff" * 3, "not UTF-8"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_body_that_does_not_hold_leaves_the_connection_usable(line: Line, what: str) -> None:
    (body, head), wanted, told = BAD[what]

    status, answer = await line.post(PATH, body, head)
    again = await line.post(PATH, *binary())

    assert (status, breaches(answer, rules.ERROR)) == (wanted, [])
    assert answer["code"] in ("invalid_request", "invalid_input")
    assert told in answer["error"]
    assert again[0] == 200


@pytest.mark.parametrize("what", BAD_TEXTS)
async def test_elements_that_do_not_hold(line: Line, what: str) -> None:
    raw, told = BAD_TEXTS[what]

    status, answer = await line.post("/v2/models/string-vector/infer", *texts(raw, [1, 3]))

    assert (status, breaches(answer, rules.ERROR)) == (422, [])
    assert told in answer["error"]


async def test_a_model_that_is_not_loaded_is_not_ready(served: Served, line: Line) -> None:
    await served.workspace.deployments.unload("int8-vector")

    status, answer = await line.post("/v2/models/int8-vector/infer", *binary())

    await served.workspace.deployments.load("int8-vector")
    assert (status, answer["code"]) == (503, "not_ready")
    assert breaches(answer, rules.ERROR) == []


async def test_a_body_beyond_the_limit_is_refused(served: Served) -> None:
    answer = await served.http.post(PATH, content=b"x" * (11 << 20), headers={HEAD: "5"})

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_fp16_has_no_form_in_json(served: Served) -> None:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP16", "data": [1, 2, 3]}

    refused = await served.http.post("/v2/models/float16-vector/infer", json={"inputs": [tensor]})
    taken = await served.http.post("/v2/models/float16-vector/infer", json={"inputs": [tensor | {"datatype": "FP32"}]})

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "send it as binary data, or send FP32" in refused.json()["error"]
    assert taken.status_code == 200


PIECES = st.sampled_from([
    "x", "digest", "FP32", "BYTES", "BOOL", "INT64", "FP16", -1, 0, 1, 2, 3, 6, 24, 2**31, 2**63, 2**70, 1.5, True,
    None,
    [1, 3], [2, 3], [[1.0, 2, 3], [4, 5, 6]], [0, 3], [], {}, {"binary_data_size": 24}, {"binary_data": True},
    {"classification": 2}, {"content_type": "base64"}, "text", "\ud83d\ude00",
])  # fmt: skip
TENSORS = st.fixed_dictionaries(
    {"name": PIECES, "shape": PIECES, "datatype": PIECES},
    optional={"data": PIECES, "parameters": PIECES | st.fixed_dictionaries({"binary_data_size": PIECES})},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2) | PIECES},
    optional={
        "id": PIECES,
        "parameters": PIECES | st.fixed_dictionaries({"binary_data_output": PIECES, "timeout": PIECES}),
        "outputs": PIECES
        | st.lists(st.fixed_dictionaries({"name": PIECES}, optional={"parameters": PIECES}), max_size=2),
    },
)
MODELS = st.sampled_from([
    "float32-vector", "float32-freer", "int64-scalar", "float16-matrix", "bool-vector", "string-vector", "bytes-scalar",
    "any-scalar", "float64-free-whole", "uint8-matrix-whole",
])  # fmt: skip
FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def _never_a_fault(served: Served, model: str, body: bytes, head: str | None, call: str = "infer") -> None:
    headers = {} if head is None else {HEAD: head}
    answer = await served.http.post(f"/v2/models/{model}/{call}", content=body, headers=headers)
    assert answer.status_code < 500, (answer.text, body, head)
    if answer.status_code != 200:
        assert breaches(answer.json(), rules.ERROR) == []


@FUZZ
@given(model=MODELS, request=REQUESTS, tail=st.binary(max_size=40), shift=st.integers(-2, 2), told=st.booleans())
async def test_whatever_comes_nothing_breaks(
    served: Served, model: str, request: Any, tail: bytes, shift: int, told: bool
) -> None:
    body = json.dumps(request).encode()

    await _never_a_fault(served, model, body + tail, str(max(0, len(body) + shift)) if told else None)


@FUZZ
@given(model=MODELS, body=st.binary(max_size=60), head=st.none() | st.text("0123456789-+ ex", max_size=20))
async def test_no_bytes_break_anything(served: Served, model: str, body: bytes, head: str | None) -> None:
    await _never_a_fault(served, model, body, head)


@FUZZ
@given(
    model=MODELS,
    raw=st.binary(max_size=60),
    shape=st.lists(st.integers(-1, 4), max_size=4),
    datatype=st.sampled_from(list(DTYPES)) | PIECES,
    fitting=st.booleans(),
)
async def test_no_tensor_breaks_anything(
    served: Served, model: str, raw: bytes, shape: list[int], datatype: Any, fitting: bool
) -> None:
    if fitting and isinstance(datatype, str) and datatype in DTYPES:
        size = max(0, prod(shape)) * DTYPES[datatype].itemsize
        raw = (raw * (size + 1))[:size].ljust(size, b"\xff")
    tensor = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    told = encoded({"inputs": [tensor], "parameters": {"binary_data_output": True}})

    await _never_a_fault(served, model, told + raw, str(len(told)))


@FUZZ
@given(body=st.dictionaries(PIECES.filter(lambda one: isinstance(one, str)) | st.sampled_from(
    ["text_input", "parameters", "id", "max_tokens", "text"]), PIECES, max_size=4),
    call=st.sampled_from(["generate", "generate_stream"]))  # fmt: skip
async def test_no_generation_breaks_anything(served: Served, body: Any, call: str) -> None:
    await _never_a_fault(served, "writer", json.dumps(body).encode(), None, call)
