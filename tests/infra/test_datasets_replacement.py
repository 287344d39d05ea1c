"""A file is under its name only when it is complete, whatever happens before."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.domain.errors import Conflict, DependencyFailure, InvalidRequest, NotFound
from headrace.domain.tensors import TensorSpec
from headrace.infra.storage.datasets import LocalTables
from headrace.infra.storage.replacement import Replacement

ENDINGS = ["csv", "csv.gz", "jsonl", "parquet"]
SPECS = {"x": TensorSpec("float32", (-1,), "x")}
FULL_DISK = """
import resource, sys
import numpy as np
from headrace.domain.errors import EngineError
from headrace.domain.tensors import TensorSpec
from headrace.infra.storage.datasets import LocalTables
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sink = LocalTables().create(sys.argv[1], (), {"x": TensorSpec("float32", (-1,), "x")})
try:
    for seed in range(20):
        sink.write({"x": np.random.default_rng(seed).normal(size=50_000).astype(np.float32)}, {})
    sink.finish()
except EngineError as error:
    print(error.code, error.message)
sink.abandon()
"""


def test_nothing_is_seen_before_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    new = Replacement(path)
    new.partial.write_text("after")

    new.finish()
    seen = path.read_text()
    new.publish()

    assert seen == "before"
    assert path.read_text() == "after"
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


def test_what_is_abandoned_leaves_no_trace(tmp_path: Path) -> None:
    new = Replacement(tmp_path / "out.txt")
    new.partial.write_text("half")

    new.abandon()

    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    first = Replacement(tmp_path / "out.txt")

    with pytest.raises(Conflict, match="another run is writing"):
        Replacement(tmp_path / "out.txt")

    first.finish()
    first.publish()
    Replacement(tmp_path / "out.txt").abandon()
    assert (tmp_path / "out.txt").exists()


def test_what_a_killed_run_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".out.txt.part").write_text("left by somebody who was killed")

    new = Replacement(tmp_path / "out.txt")
    new.finish()
    new.publish()

    assert (tmp_path / "out.txt").read_text() == ""


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")

    with pytest.raises(NotFound, match="there is no folder"):
        Replacement(tmp_path / "none" / "out.txt")
    with pytest.raises(InvalidRequest, match="is a folder"):
        Replacement(tmp_path / "folder")
    with pytest.raises(NotFound, match="there is no folder"):
        Replacement(tmp_path / "file" / "out.txt")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"

    told = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)

    assert told.stdout == f"{DependencyFailure.code} {path} cannot be written: File too large\n"
    assert told.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_abandoned_table_leaves_nothing(tmp_path: Path, ending: str) -> None:
    sink = LocalTables().create(str(tmp_path / f"out.{ending}"), (), SPECS)
    sink.write({"x": [1.0]}, {})

    sink.abandon()

    assert list(tmp_path.iterdir()) == []
