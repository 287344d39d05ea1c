"""Requests of differing lengths to a running server: everybody gets a row of the own length back."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto
from tests.end_to_end.servers import serving
from tests.infra.onnx_models import identity

pytestmark = pytest.mark.slow

PIPELINE = """
model: {name: same, type: onnx, path: models/same.onnx}
batching:
  pad: {x: 9}
  buckets: [4, 8]
  cost: x
  max_cost: 64
  max_wait_ms: 5
  objective_ms: 500
"""


def workspace(root: Path) -> Path:
    (root / "config" / "pipelines").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "config" / "main.yaml").write_text("framework: {name: Lengths}\n")
    (root / "config" / "pipelines" / "same.yaml").write_text(PIPELINE)
    identity(root / "models" / "same.onnx", TensorProto.INT64, ("batch", "length"))
    return root


def posted(url: str, body: dict[str, Any]) -> dict[str, Any]:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def test_rows_of_every_length_come_back_as_they_went_in(tmp_path: Path) -> None:
    rows = [list(range(n % 13 + 1)) for n in range(40)]
    with serving(workspace(tmp_path)) as server, ThreadPoolExecutor(8) as callers:

        def native(row: list[int]) -> Any:
            return posted(f"{server.url}/api/v1/inference", {"pipeline": "same", "inputs": {"x": row}})

        def v2(row: list[int]) -> Any:
            tensor = {"name": "x", "datatype": "INT64", "shape": [1, len(row)], "data": row}
            return posted(f"{server.url}/v2/models/same/infer", {"inputs": [tensor]})

        natives, v2s = list(callers.map(native, rows)), list(callers.map(v2, rows))
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()

    assert [answer["data"]["outputs"]["y"] for answer in natives] == rows
    assert [answer["outputs"][0]["data"] for answer in v2s] == rows
    assert [answer["outputs"][0]["shape"] for answer in v2s] == [[1, len(row)] for row in rows]
    cells = {line.split('kind="')[1].split('"')[0]: float(line.split()[-1])
             for line in metrics.splitlines() if line.startswith("headrace_batch_cells_total{")}  # fmt: skip
    assert cells["real"] >= 2 * sum(map(len, rows))
    assert cells["padding"] > 0
    assert "headrace_padding_waste_ratio{" in metrics
