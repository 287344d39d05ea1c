"""The ways in which an array can travel to a model and back; each is a door of the protocol and a form of body."""

import base64
import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import orjson
from tests.contracts.open_inference.echoes import Served

from headrace.adapters.grpc.contents import FIELDS
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.open_inference.datatypes import DATATYPES, DTYPES

Answer = Mapping[str, np.ndarray]
Ask = Callable[[Served, str, np.ndarray], Awaitable[Answer]]
"""Asks a model whose only input is ``x`` and returns its outputs; of BYTES the elements are bytes."""


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name for the elements of *array*."""
    return DATATYPES.get(array.dtype.name, "BYTES")


def elements(array: np.ndarray) -> list[bytes]:
    """The elements of BYTES: bytes as they are, texts in UTF-8, anything else as JSON."""
    return [one if isinstance(one, bytes) else one.encode() if isinstance(one, str) else orjson.dumps(one)
            for one in array.ravel().tolist()]  # fmt: skip


def as_json(array: np.ndarray) -> dict[str, Any]:
    """An input whose values stand in the JSON."""
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype_of(array)}
    if array.dtype != object:
        return {**tensor, "data": array.tolist()}
    values = array.ravel().tolist()
    if any(isinstance(one, bytes) for one in values):
        coded = [base64.b64encode(one).decode() for one in values]
        return {**tensor, "data": coded, "parameters": {"content_type": "base64"}}
    return {**tensor, "data": [one.decode() for one in elements(array)]}


def as_binary(array: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """An input whose values stand behind the JSON, and those values."""
    raw = packed(array)
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype_of(array)}
    return {**tensor, "parameters": {"binary_data_size": len(raw)}}, raw


def packed(array: np.ndarray) -> bytes:
    """The values of *array* as the protocol packs them."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(one)) + one for one in elements(array))
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def unpacked(raw: bytes, datatype: str, shape: list[int]) -> np.ndarray:
    """The array that *raw* holds."""
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    found, position = [], 0
    while position < len(raw):
        (length,) = struct.unpack_from("<I", raw, position)
        found.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return of_elements(found, shape)


def of_elements(values: list[bytes], shape: list[int]) -> np.ndarray:
    """Elements of BYTES as an array of objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def read(body: bytes, head: str | None) -> Answer:
    """The outputs in the body of an answer."""
    size = len(body) if head is None else int(head)
    told, tail = json.loads(body[:size]), body[size:]
    found = {}
    for output in told["outputs"]:
        shape, datatype, parameters = output["shape"], output["datatype"], output.get("parameters", {})
        if "data" not in output:
            length = parameters["binary_data_size"]
            raw, tail = tail[:length], tail[length:]
            found[output["name"]] = unpacked(raw, datatype, shape)
        elif datatype == "BYTES":
            coded = parameters.get("content_type") == "base64"
            values = [base64.b64decode(one) if coded else one.encode() for one in output["data"]]
            found[output["name"]] = of_elements(values, shape)
        else:
            found[output["name"]] = np.array(output["data"], dtype=DTYPES[datatype]).reshape(shape)
    assert not tail
    return found


async def _post(served: Served, model: str, body: bytes, head: int | None) -> Answer:
    headers = {"content-type": "application/json"}
    if head is not None:
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(head)}
    answer = await served.http.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return read(answer.content, answer.headers.get("inference-header-content-length"))


async def rest_json(served: Served, model: str, array: np.ndarray) -> Answer:
    """JSON both ways."""
    return await _post(served, model, orjson.dumps({"inputs": [as_json(array)]}), None)


async def rest_binary(served: Served, model: str, array: np.ndarray) -> Answer:
    """Binary both ways."""
    tensor, raw = as_binary(array)
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return await _post(served, model, head + raw, len(head))


async def rest_binary_out(served: Served, model: str, array: np.ndarray) -> Answer:
    """JSON in; of the answer one output is binary and the other JSON."""
    outputs = [{"name": "x", "parameters": {"binary_data": True}}, {"name": "digest"}]
    return await _post(served, model, orjson.dumps({"inputs": [as_json(array)], "outputs": outputs}), None)


async def rest_binary_in(served: Served, model: str, array: np.ndarray) -> Answer:
    """Binary in, JSON out."""
    tensor, raw = as_binary(array)
    head = orjson.dumps({"inputs": [tensor]})
    return await _post(served, model, head + raw, len(head))


async def _grpc(served: Served, message: messages.ModelInferRequest) -> Answer:
    answer = await served.grpc.infer(message)
    assert isinstance(answer, messages.ModelInferResponse), answer
    if answer.raw_output_contents:
        return {
            output.name: unpacked(raw, output.datatype, list(output.shape))
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }
    return {output.name: _of_contents(output) for output in answer.outputs}


def _of_contents(output: Any) -> np.ndarray:
    values = list(getattr(output.contents, FIELDS[output.datatype]))
    if output.datatype == "BYTES":
        return of_elements(values, list(output.shape))
    return np.array(values, dtype=DTYPES[output.datatype]).reshape(output.shape)


async def grpc_raw(served: Served, model: str, array: np.ndarray) -> Answer:
    """gRPC with raw contents both ways."""
    message = messages.ModelInferRequest(model_name=model, raw_input_contents=[packed(array)])
    message.inputs.add(name="x", datatype=datatype_of(array), shape=array.shape)
    return await _grpc(served, message)


async def grpc_typed(served: Served, model: str, array: np.ndarray) -> Answer:
    """gRPC with typed contents both ways."""
    message = messages.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name="x", datatype=datatype_of(array), shape=array.shape)
    values = elements(array) if array.dtype == object else array.ravel().tolist()
    getattr(tensor.contents, FIELDS[tensor.datatype]).extend(values)
    return await _grpc(served, message)


DOORS: dict[str, Ask] = {
    "rest-json": rest_json,
    "rest-binary": rest_binary,
    "rest-binary-in": rest_binary_in,
    "rest-binary-out": rest_binary_out,
    "grpc-raw": grpc_raw,
    "grpc-typed": grpc_typed,
}
"""Every door."""


def carries(door: str, dtype: str) -> bool:
    """Whether *dtype* can be sent through *door*: FP16 has no form in JSON and none in typed contents."""
    return not (dtype == "float16" and door in ("rest-json", "rest-binary-out", "grpc-typed"))
