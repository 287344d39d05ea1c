"""Numbers that a model's inputs cannot hold are their sender's mistake, and nothing to others."""

import asyncio
from pathlib import Path

from headrace import assembly
from headrace.domain.errors import EngineError

FILES = {
    "config/main.yaml": "{}",
    "config/models/double.yaml": (
        "type: python\npath: models/double.py:predict\n"
        "input_spec: [{name: x, shape: [-1, 2], dtype: float32}]\noutput_spec: [{name: scores, shape: [-1, 2]}]\n"
    ),
    "models/double.py": (
        "import numpy as np\n\ndef predict(x):\n"
        "    return {'scores': np.where(np.isfinite(x), x, np.nan).astype('float32')}\n"
    ),
    "config/pipelines/best.yaml": (
        "name: best\nmodel: double\npostprocessing: [{name: labels.top_k, params: {k: 1}, column: scores}]\n"
    ),
}


def test_a_number_beyond_float32_is_told_as_the_callers_mistake(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    async def ask() -> list[object]:
        async with assembly.open_application(tmp_path / "config/main.yaml") as application:
            return list(await application.infer("best", [{"x": [1, 2]}, {"x": [1, 1e39]}]))

    good, bad = asyncio.run(ask())

    assert not isinstance(good, EngineError)
    assert isinstance(bad, EngineError) and bad.code == "invalid_input"
    assert bad.message.startswith("input 'x' holds NaN, or a number beyond its range; the model gave scores")
