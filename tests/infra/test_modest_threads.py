"""Threads that help with a call: they give way to the loop, and whoever started them does not."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.infra import onnx_models

from headrace.domain.errors import InvalidConfig
from headrace.infra.runtimes import onnx
from headrace.infra.runtimes.modest_threads import NICE, with_modest_threads
from headrace.infra.runtimes.onnx import OnnxModel

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="a thread has a priority on Linux only")


def priorities() -> dict[int, int]:
    """The nice value of each thread of this process."""
    found = {}
    for thread in (int(folder.name) for folder in Path("/proc/self/task").iterdir()):
        try:
            found[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        except ProcessLookupError:  # it has ended since
            continue
    return found


def load(path: Path, threads: int | str, monkeypatch: pytest.MonkeyPatch) -> OnnxModel:
    monkeypatch.setattr(onnx, "threads_of_library", lambda: 3)
    model = OnnxModel()
    model.load(str(path), {"name": "net", "path": path.name, "device": "cpu", "threads": threads})
    return model


@pytest.mark.parametrize("threads", ["auto", 3])
def test_threads_of_a_session_run_at_a_lower_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int | str
) -> None:
    path = onnx_models.mlp(tmp_path / "net.onnx", (64, 128, 8))
    load(path, 1, monkeypatch).close()  # ONNX Runtime has threads of its own since it was imported
    before = priorities()

    model = load(path, threads, monkeypatch)

    came = [nice for thread, nice in priorities().items() if thread not in before]
    own = before[threading.get_native_id()]
    assert len(came) >= 2  # the third is the one that calls; the one that loaded may not be gone yet
    assert set(came) == {min(19, own + NICE)}
    assert priorities()[threading.get_native_id()] == own
    assert np.isfinite(model.predict({"x": np.ones((2, 64), np.float32)})["y"]).all()


def test_what_fails_fails_as_it_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        with_modest_threads(fails)

    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(InvalidConfig, match="ONNX Runtime cannot load it"):
        load(tmp_path / "net.onnx", 3, monkeypatch)


def test_where_priorities_are_forbidden_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)

    assert with_modest_threads(lambda: 1) == 1
