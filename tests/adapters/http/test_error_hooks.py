"""Error hooks hear once of each request for inference that fails, however early that is."""

from typing import Any

import pytest
from tests.adapters.http.conftest import client_of, opened

from headrace.adapters.http.settings import ApiSettings
from headrace.domain.errors import EngineError
from headrace.domain.registry import PipelineRef

ROWS = {"name": "x", "shape": [3, 2], "datatype": "BYTES", "data": list("abcdef")}


class Ears:
    """In the place of the hooks of an engine: who is told what."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def error(self, ref: PipelineRef | None, error: EngineError) -> None:
        """An error is told."""
        self.heard.append((str(ref), error.code))


@pytest.mark.parametrize(
    ("path", "sent", "heard"),
    [
        ("/api/v1/inference", {"json": {"pipeline": "nobody", "inputs": {}}}, ("None", "not_found")),
        ("/api/v1/inference", {"content": b"{"}, ("None", "invalid_request")),
        ("/api/v1/inference", {"json": {"pipeline": "double", "inputs": [{}] * 3}}, ("None", "too_large")),
        ("/v2/models/nobody/infer", {"json": {"inputs": []}}, ("None", "not_found")),
        ("/v2/models/shout/infer", {"json": {"inputs": [{**ROWS, "name": "text", "shape": [3], "data": ["a"] * 3}]}},
         ("None", "too_large")),
        ("/predict/image", {"files": {"file": ("a.png", b"x", "image/png")}, "data": {"pipeline": "double"}},
         ("None", "invalid_input")),
        ("/predict/text", {"json": {"text": "a", "pipeline": "nobody"}}, ("None", "not_found")),
        ("/v1/embeddings", {"json": {"model": "nobody", "input": "a"}}, ("None", "not_found")),
    ],
)  # fmt: skip
async def test_each_is_told_once(path: str, sent: Any, heard: tuple[str, str]) -> None:
    async with opened(settings=ApiSettings(max_rows=2)) as house, client_of(house.app) as client:
        ears: Any = Ears()
        house.inference.engine.hooks = ears

        answer = await client.post(path, headers={"content-type": "application/json"} if "content" in sent else {},
                                   **sent)  # fmt: skip
        house.inference.engine.hooks = None

    assert 400 <= answer.status_code < 500, answer.text
    assert ears.heard == [heard]


async def test_who_may_not_ask_is_not_told_of() -> None:
    async with opened(token="secret") as house, client_of(house.app) as client:
        ears: Any = Ears()
        house.inference.engine.hooks = ears

        answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {}})
        house.inference.engine.hooks = None

    assert answer.status_code == 401
    assert ears.heard == []
