"""How are rows asked over HTTP, natively and by the V2 protocol? The client's side of `headrace verify`."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from headrace.domain.pipeline import Pipeline
from headrace.domain.tensors import TensorSpec

TIMEOUT_S: Final = 60
Row = Mapping[str, Any]
Answer = Mapping[str, Any]

_DATATYPES: Final = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
_GROUPS: Final = {"number": "FP64", "float": "FP64", "integer": "INT64"}


def native(url: str, pipeline: Pipeline) -> Callable[[Sequence[Row]], Any]:
    """A way that posts each row to ``/api/v1/inference``."""

    def ask(connection: http.client.HTTPConnection, row: Row) -> Answer:
        ref = pipeline.ref
        body = {"pipeline": ref.name, "version": ref.version, "inputs": row}
        answer = _post(connection, "/api/v1/inference", body)
        if not answer.get("success"):
            return {"error": answer["error"]}
        outputs: Answer = answer["data"]["outputs"]
        return outputs

    return _way(url, ask)


def open_inference(url: str, pipeline: Pipeline) -> Callable[[Sequence[Row]], Any]:
    """A way that posts each row to ``/v2/models/NAME/versions/VERSION/infer``."""
    path = f"/v2/models/{quote(pipeline.ref.name)}/versions/{quote(pipeline.ref.version)}/infer"

    def ask(connection: http.client.HTTPConnection, row: Row) -> Answer:
        inputs = [_tensor(name, value, pipeline.inputs.get(name), pipeline.batched) for name, value in row.items()]
        answer = _post(connection, path, {"inputs": inputs})
        if "error" in answer:
            return {"error": {"code": answer.get("code"), "message": answer["error"]}}
        return {one["name"]: _value(one, pipeline) for one in answer["outputs"]}

    return _way(url, ask)


def _way(url: str, ask: Callable[[http.client.HTTPConnection, Row], Answer]) -> Callable[[Sequence[Row]], Any]:
    def all_rows(rows: Sequence[Row]) -> list[Answer]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        try:
            return [ask(connection, row) for row in rows]
        finally:
            connection.close()

    async def way(rows: Sequence[Row]) -> list[Answer]:
        return await asyncio.to_thread(all_rows, rows)

    return way


def _post(connection: http.client.HTTPConnection, path: str, body: Any) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
    connection.request("POST", path, json.dumps(body).encode(), headers)
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def _tensor(name: str, value: Any, spec: TensorSpec | None, batched: bool) -> dict[str, Any]:
    """A value of a row as a V2 tensor of one row; what does not fit is sent as it is, for the server to refuse."""
    if spec is None or not (spec.numeric or spec.dtype in _GROUPS):
        return _bytes_tensor(name, value, spec, batched)
    data = [value] if batched else value
    datatype = _DATATYPES.get(spec.dtype) or _GROUPS.get(spec.dtype) or spec.dtype.upper()
    return {
        "name": name,
        "datatype": datatype,
        "shape": _shape(data),
        "data": data if isinstance(data, list) else [data],
    }


def _bytes_tensor(name: str, value: Any, spec: TensorSpec | None, batched: bool) -> dict[str, Any]:
    shape = [1] if batched or not isinstance(value, list) else _shape(value)
    tensor: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": shape, "data": [value]}
    if isinstance(value, Mapping) and value.keys() == {"base64"} and (spec is None or spec.dtype == "bytes"):
        return {**tensor, "data": [value["base64"]], "parameters": {"content_type": "base64"}}
    if spec is not None and spec.dtype == "any":
        return {**tensor, "data": [json.dumps(value)], "parameters": {"content_type": "json"}}
    if isinstance(value, list):
        data = [value] if batched else value
        return {**tensor, "shape": _shape(data), "data": data}
    return tensor


def _shape(data: Any) -> list[int]:
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        if not data:
            break
        data = data[0]
    return shape or [1]


def _value(output: Mapping[str, Any], pipeline: Pipeline) -> Any:
    """The one row of an output tensor."""
    data, shape = output["data"], output["shape"]
    content = (output.get("parameters") or {}).get("content_type")
    if output["datatype"] == "BYTES":
        if content == "json":
            data = [json.loads(value) for value in data]
        elif content == "base64":
            data = [{"base64": value} for value in data]
    return _folded(data, shape[1:] if pipeline.batched else shape)


def _folded(data: list[Any], shape: Sequence[int]) -> Any:
    """Row-major *data* nested as *shape* says."""
    if not shape:
        return data[0]
    if shape[0] == 0:
        return []
    size = len(data) // shape[0]
    return [_folded(data[start : start + size], shape[1:]) for start in range(0, len(data), size)] if size else []
