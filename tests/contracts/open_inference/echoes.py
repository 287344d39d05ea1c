"""A workspace whose models answer with their inputs, and beside them with numbers that depend on every byte of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from tests.adapters.grpc.calls import Client, connected

import headrace
from headrace.adapters.http.app import HttpDoor, create_app
from headrace.adapters.http.settings import ApiSettings
from headrace.domain.tensors import NUMBERS

ROW_SHAPES = {"scalar": (), "vector": (3,), "matrix": (2, 2), "free": (-1,), "freer": (-1, 2)}
"""The shape of a row, by the name of its models; dtypes other than numbers come as scalars and vectors alone."""
DTYPES = (*NUMBERS, "string", "bytes", "any")
WRITER = "writer"
"""A model that generates text."""


def model_of(dtype: str, shape: str, *, batched: bool = True) -> str:
    """The name of the model that echoes rows of *dtype*."""
    return f"{dtype}-{shape}" if batched else f"{dtype}-{shape}-whole"


def kinds() -> list[tuple[str, str]]:
    """Every dtype with every shape of a row that it comes in."""
    return [
        (dtype, shape) for dtype in DTYPES for shape in ROW_SHAPES if dtype in NUMBERS or shape in ("scalar", "vector")
    ]


def lay_out(folder: Path) -> None:
    """Write the workspace."""
    for name in ("models", "pipelines"):
        (folder / "config" / name).mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text("")
    (folder / "config" / "models" / f"{WRITER}.yaml").write_text("type: echo\n")
    for dtype, shape in kinds():
        row = list(ROW_SHAPES[shape])
        _write(folder, model_of(dtype, shape), dtype, [-1, *row], 4)
        if dtype in NUMBERS and shape != "scalar":
            name = model_of(dtype, shape, batched=False)
            _write(folder, f"{name}-model", dtype, row, 4, batched=False)
            (folder / "config" / "pipelines" / f"{name}.yaml").write_text(f"model: {name}-model\nbatching: false\n")


def _write(folder: Path, name: str, dtype: str, shape: list[int], digits: int, *, batched: bool = True) -> None:
    column = f"{{name: x, shape: {shape}, dtype: {dtype}}}"
    digest = f"{{name: digest, shape: {[-1, digits] if batched else [digits]}, dtype: int64}}"
    text = f"type: echo\ninput_spec: [{column}]\noutput_spec: [{column}, {digest}]\n"
    (folder / "config" / "models" / f"{name}.yaml").write_text(text)


def rows_of(dtype: str, shape: str, rows: int) -> np.ndarray:
    """*rows* rows; of integers the least and the greatest are among them, of floats what no decimal hits."""
    sizes = [rows, *(max(size, 2) if size < 0 else size for size in ROW_SHAPES[shape])]
    if dtype not in NUMBERS:
        return np.resize(np.array(_OBJECTS[dtype], dtype=object), sizes)
    kind = np.dtype(dtype).kind
    if kind in "iu":
        limits = np.iinfo(dtype)
        return np.resize(np.array([limits.max, limits.min, 5, 1], dtype), sizes)
    values = [True, False, False] if kind == "b" else [0.1, -1.5, 0.0, 1 / 3, 65504.0]
    return np.resize(np.array(values, dtype), sizes)


_OBJECTS: dict[str, list[Any]] = {
    "string": ["", "plain", "Zürich ☃", '{"base64": "aGk="}', "\x00\x1f"],
    "bytes": [b"", b"plain", b"\x00\xff\xfe", "Zürich".encode(), b'{"a": 1}'],
    "any": [{"a": [1, 2.5, None]}, {"b": "text"}, {}, {"c": [True]}],
}


@dataclass(frozen=True)
class Served:
    """The workspace behind its doors."""

    workspace: Any
    app: HttpDoor
    http: httpx2.AsyncClient
    grpc: Client


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """The workspace, loaded, behind the HTTP door in this process and the gRPC door on a free port."""
    lay_out(folder)
    async with headrace.load(folder) as workspace:
        app = create_app(workspace.inference, workspace.deployments, ApiSettings())
        transport = httpx2.ASGITransport(app=app)
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://test") as http,
            connected(workspace.inference, workspace.deployments) as grpc,
        ):
            yield Served(workspace, app, http, grpc)
        app.close()
