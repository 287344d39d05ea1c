"""Does Triton's own client work unchanged? It has an environment of its own: its pins are not ours."""

import asyncio
import hashlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import headrace
from headrace.adapters.grpc.serve import serve as serve_grpc
from headrace.adapters.http.app import create_app
from headrace.adapters.http.serve import serve
from headrace.adapters.http.settings import ApiSettings

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
VENV = ROOT / "build" / "test-venvs" / "tritonclient"
MESSAGES = ROOT / "src" / "headrace" / "adapters" / "grpc" / "generated" / "open_inference_pb2.py"
PAGES = ROOT / "docs" / "how-to"
FILES = re.compile(r"^```yaml\n(# (?P<file>[\w./-]+)\n.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESSES = ("127.0.0.1:8000", "127.0.0.1:8001")
WISHES = ("tritonclient[grpc,http]>=2.50",)
DTYPES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "string",
)  # fmt: skip

pytestmark = pytest.mark.slow


def made(python: Path) -> Path:
    """The Python of the client's environment, installed at the first run."""
    stamp, wanted = VENV / "installed", hashlib.sha256(" ".join((*WISHES, sys.version)).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True, timeout=120)
        pip = [python, "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *WISHES], check=True, timeout=600)
        stamp.write_text(wanted)
    return python


@pytest.fixture(scope="session")
def client_python() -> Path:
    return made(VENV / "bin" / "python")


def lay_out(folder: Path) -> None:
    """A workspace of echoes: `every` dtype by rows, `whole` without a batch axis, and `writer`, word by word."""
    for name in ("models", "pipelines"):
        (folder / "config" / name).mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text("")
    columns = [f"{{name: x_{dtype}, shape: [-1, 3], dtype: {dtype}" for dtype in DTYPES]
    given = ", ".join(f"{one}, default: {_row_of(dtype)}}}" for one, dtype in zip(columns, DTYPES, strict=True))
    returned = ", ".join(f"{one}}}" for one in columns)
    every = f"type: echo\ninput_spec: [{given}]\noutput_spec: [{returned}]\n"
    (folder / "config" / "models" / "every.yaml").write_text(every)
    one = "[{name: x_float32, shape: [-1, 5], dtype: float32}]"
    (folder / "config" / "models" / "mirror.yaml").write_text(f"type: echo\ninput_spec: {one}\noutput_spec: {one}\n")
    (folder / "config" / "pipelines" / "whole.yaml").write_text("model: mirror\nbatching: false\n")
    (folder / "config" / "models" / "writer.yaml").write_text("type: echo\n")


def _row_of(dtype: str) -> str:
    return {"bool": "[false, false, false]", "string": "['', '', '']"}.get(dtype, "[0, 0, 0]")


@dataclass(frozen=True)
class Server:
    """Where a server listens."""

    http: str
    grpc: str


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    lay_out(tmp_path)
    async with serving(tmp_path) as found:
        yield found


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    settings = ApiSettings(port=0)
    async with headrace.load(folder) as workspace:
        app = create_app(workspace.inference, workspace.deployments, settings)
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        http, grpc = loop.create_future(), loop.create_future()
        doors = [
            serve(app, settings, stop, http.set_result),
            serve_grpc(workspace.inference, workspace.deployments, settings, stop, grpc.set_result, port=0),
        ]
        done = [asyncio.create_task(door) for door in doors]
        try:
            async with asyncio.timeout(10):
                found = Server((await http).removeprefix("http://"), await grpc)
            yield found
        finally:
            stop.set()
            await asyncio.gather(*done)


async def run(python: Path, *arguments: str | Path) -> str:
    """What a script prints in the client's environment; it fails with all that it said."""
    running = await asyncio.create_subprocess_exec(
        python, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(120):
        said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    return said.decode()


async def test_the_http_client_works_unchanged(client_python: Path, server: Server) -> None:
    said = await run(client_python, HERE / "tritonclient_http.py", server.http)

    assert said.split()[-1] == "asynchronous"


async def test_the_grpc_client_works_unchanged(client_python: Path, server: Server) -> None:
    said = await run(client_python, HERE / "tritonclient_grpc.py", server.grpc, MESSAGES)

    assert said.split()[-1] == "asynchronous"


@pytest.mark.parametrize("name", ["use-open-inference-clients.md", "use-grpc.md"])
async def test_the_script_of_the_page_prints_what_stands_there(client_python: Path, tmp_path: Path, name: str) -> None:
    page = (PAGES / name).read_text()
    for block in FILES.finditer(page):
        file = tmp_path / block["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block[1])
    (tmp_path / "config" / "main.yaml").write_text("")
    [(script, printed)] = SCRIPT.findall(page)

    async with serving(tmp_path) as server:
        for shown, real in zip(ADDRESSES, (server.http, server.grpc), strict=True):
            script = script.replace(shown, real)
        said = await run(client_python, "-c", script)

    assert said == printed
