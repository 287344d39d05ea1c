"""Weights in huge pages: which memory is asked for, and that it holds what it held."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.infra import onnx_models

from headrace.infra.runtimes import huge_pages as module
from headrace.infra.runtimes.huge_pages import LEAST_BYTES, PAGE, huge_pages, used_areas, whole_pages
from headrace.infra.runtimes.onnx import OnnxModel

AREAS = st.lists(st.integers(0, 64 * PAGE), max_size=12, unique=True).map(sorted)

SMAPS = """\
00400000-00800000 r-xp 00000000 08:01 123                        /usr/bin/python3
Size:               4096 kB
Rss:                4096 kB
01000000-02000000 rw-p 00000000 00:00 0                          [heap]
Size:              16384 kB
Rss:               12000 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                  16 kB
7f0001000000-7f0001800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                8192 kB
7f0002000000-7f0002800000 rw-s 00000000 00:01 77                 /dev/shm/shared (deleted)
Size:               8192 kB
Rss:                8192 kB
7f0003000000-7f0003800000 rw-p 00000000 00:00 0                  [stack]
Size:               8192 kB
Rss:                8192 kB
"""


def test_only_memory_of_no_file_that_is_mostly_in_use_counts() -> None:
    assert used_areas(SMAPS) == {0x1000000: 0x2000000, 0x7F0001000000: 0x7F0001800000}


def areas(edges: list[int]) -> dict[int, int]:
    return dict(zip(edges[::2], edges[1::2], strict=False))


@given(AREAS.map(areas), st.data())
def test_whole_pages_lie_in_what_came_and_nothing_larger_is_left_out(now: dict[int, int], data: st.DataObject) -> None:
    before = {begin: data.draw(st.integers(begin, end)) for begin, end in now.items() if data.draw(st.booleans())}

    found = list(whole_pages(before, now))

    came = [(before.get(begin, begin), end) for begin, end in now.items()]
    for first, last in found:
        assert first % PAGE == last % PAGE == 0 and first < last
        assert any(begin <= first and last <= end for begin, end in came)
    for begin, end in came:
        covered = sum(last - first for first, last in found if begin <= first and last <= end)
        assert end - begin - covered < 2 * PAGE


def advised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    really = module._advise

    def note(begin: int, size: int) -> None:
        found.append((begin, size))
        really(begin, size)

    monkeypatch.setattr(module, "_advise", note)
    return found


def test_memory_that_came_is_asked_for_and_holds_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    found = advised(monkeypatch)
    written = np.arange(8 * PAGE // 8)

    with huge_pages(LEAST_BYTES):
        memory = mmap.mmap(-1, written.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.write(written.tobytes())

    assert sum(size for _, size in found) >= written.nbytes - 2 * PAGE
    assert memory[:] == written.tobytes()


def test_a_small_model_is_left_alone_and_a_large_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = advised(monkeypatch)
    small, large = (
        onnx_models.mlp(tmp_path / f"{width}.onnx", (64, width, width, 8)) for width in (64, 1536)
    )  # fmt: skip

    models = {}
    for path, some in ((small, False), (large, True)):
        models[path] = OnnxModel()
        models[path].load(str(path), {"name": "net", "path": path.name, "device": "cpu"})
        assert bool(found) == some

    rows = np.ones((3, 64), np.float32)
    assert all(np.isfinite(model.predict({"x": rows})[name]).all() for model in models.values()
               for name in model.get_output_spec())  # fmt: skip


def test_where_the_system_tells_of_no_memory_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = advised(monkeypatch)
    monkeypatch.setattr(module, "MAPS", tmp_path / "smaps")

    with huge_pages(LEAST_BYTES):
        pass

    assert not found
