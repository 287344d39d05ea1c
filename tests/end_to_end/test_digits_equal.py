"""Do the 1,797 digits get scikit-learn's own answers: bare over V2 and by the pipeline, singly and in batches?"""

import asyncio
import importlib.util
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.servers.ports import free_port

import headrace
from headrace.domain.errors import EngineError

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
CONCURRENCY = 64
BATCHES = [1, 7, 64, 600]

Ask = Callable[[int, int], Awaitable[NDArray[np.float32]]]

pytestmark = pytest.mark.slow


@dataclass
class Digits:
    """A workspace whose model was trained a moment ago, all the pictures, and what scikit-learn says of them."""

    workspace: Path
    levels: NDArray[np.uint8]
    pixels: NDArray[np.float32]
    expected: NDArray[np.float32]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    workspace = tmp_path_factory.mktemp("digits") / "workspace"
    shutil.copytree(EXAMPLE, workspace)
    spec = importlib.util.spec_from_file_location("digits_train", workspace / "train.py")
    assert spec is not None and spec.loader is not None
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    levels, shown = train.grey_levels()
    model = train.train(levels, shown)
    train.MODEL.write_bytes(train.export(model))
    pipeline = workspace / "config" / "pipelines" / "digits.yaml"
    lines = pipeline.read_text().splitlines()
    pipeline.write_text("\n".join(line for line in lines if not line.startswith("cache:")))  # every answer anew
    pixels = train.as_pixels(levels)
    return Digits(workspace, levels, pixels, model.predict_proba(pixels))


@pytest.fixture(scope="module")
def server(digits: Digits) -> Iterator[str]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("headrace")), "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=digits.workspace)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url)
        yield url
    finally:
        process.terminate()
        code = process.wait(45)
    assert code == 0


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    started = time.monotonic()
    while time.monotonic() - started < 60:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server was not ready in time")


async def all_answers(ask: Ask, rows: int, size: int) -> NDArray[np.float32]:
    """The answers to *rows* rows in requests of *size* rows, of which `CONCURRENCY` are under way at any time."""
    places = asyncio.Semaphore(CONCURRENCY)

    async def one(start: int) -> NDArray[np.float32]:
        async with places:
            return await ask(start, min(start + size, rows))

    return np.concatenate(await asyncio.gather(*(one(start) for start in range(0, rows, size))))


@pytest.mark.parametrize("size", BATCHES)
async def test_bare_model_over_v2_answers_as_scikit_learn(digits: Digits, server: str, size: int) -> None:
    limits = httpx2.Limits(max_connections=CONCURRENCY)
    async with httpx2.AsyncClient(base_url=server, limits=limits, timeout=60) as client:

        async def ask(start: int, stop: int) -> NDArray[np.float32]:
            tensor = {"name": "pixels", "datatype": "FP32", "shape": [stop - start, 64]}
            body = {"inputs": [{**tensor, "data": digits.pixels[start:stop].ravel().tolist()}]}
            answer = await client.post("/v2/models/digits-mlp/infer", json=body)
            assert answer.status_code == 200, answer.text
            [output] = answer.json()["outputs"]
            return np.array(output["data"], np.float32).reshape(output["shape"])

        answers = await all_answers(ask, len(digits.pixels), size)

    np.testing.assert_allclose(answers, digits.expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", BATCHES)
async def test_pipeline_answers_to_pictures_as_scikit_learn_to_pixels(digits: Digits, size: int) -> None:
    async with headrace.load(digits.workspace) as app:

        async def ask(start: int, stop: int) -> NDArray[np.float32]:
            rows = await app.infer("digits", [{"image": png(level)} for level in digits.levels[start:stop]])
            return np.stack([probabilities(row) for row in rows])

        answers = await all_answers(ask, len(digits.levels), size)

    np.testing.assert_allclose(answers, digits.expected, rtol=1e-5, atol=1e-6)


async def test_the_named_digit_is_the_likeliest(digits: Digits) -> None:
    async with headrace.load(digits.workspace) as app:
        rows = await app.infer("digits", [{"image": png(level)} for level in digits.levels])

    named = [row["prediction"]["class_id"] for row in rows if not isinstance(row, EngineError)]
    np.testing.assert_array_equal(named, digits.expected.argmax(axis=1))


def png(level: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG that shows *level*, shape (8, 8)."""
    stream = io.BytesIO()
    Image.fromarray(level).save(stream, "PNG")
    return stream.getvalue()


def probabilities(row: Any) -> NDArray[np.float32]:
    """The model's output in a row of answers; raises the row's error."""
    if isinstance(row, EngineError):
        raise row
    found: NDArray[np.float32] = row["probabilities"]
    return found
