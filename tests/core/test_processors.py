"""Are there as many processors as the system and a container allow, and does each worker get its share?"""

import os
from pathlib import Path

import pytest

from headrace.core.processors import library_threads, processors, share

ALLOWED = len(os.sched_getaffinity(0))


def container(root: Path, group: str, limits: dict[str, str]) -> tuple[Path, Path]:
    """Control groups whose *limits* are by path; this process is in *group*."""
    membership = root / "membership"
    membership.write_text(f"9:name=systemd:/elsewhere\n0::{group}\n")
    for path, limit in limits.items():
        folder = root / "cgroups" / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(limit)
    return root / "cgroups", membership


def test_without_a_limit_they_are_those_that_the_process_may_be_on(tmp_path: Path) -> None:
    assert processors(tmp_path / "none", tmp_path / "none") == ALLOWED
    assert processors(*container(tmp_path, "/", {"": "max 100000\n"})) == ALLOWED


@pytest.mark.parametrize(("limit", "wanted"), [("50000 100000", 1), ("100000 100000", 1), ("10000000 1000", ALLOWED)])
def test_a_share_of_time_counts_as_whole_processors(tmp_path: Path, limit: str, wanted: int) -> None:
    assert processors(*container(tmp_path, "/", {"": limit})) == wanted


def test_the_tightest_limit_above_the_process_counts(tmp_path: Path) -> None:
    limits = {"outer/inner": "max 100000", "outer": "30000 100000"}

    assert processors(*container(tmp_path, "/outer/inner", limits)) == 1


@pytest.mark.parametrize("content", ["", "many 100000", "100000 0", "100000"])
def test_a_limit_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    assert processors(*container(tmp_path, "/", {"": content})) == ALLOWED


@pytest.mark.parametrize(("workers", "found", "wanted"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 2, 1), (1, 1, 1)])
def test_workers_share_them_out(workers: int, found: int, wanted: int) -> None:
    assert share(workers, found) == wanted


def test_libraries_get_the_share_too_unless_somebody_has_chosen() -> None:
    found = library_threads(10_000, {"HOME": "/", "OMP_NUM_THREADS": "3"})

    assert found == {"HOME": "/", "OMP_NUM_THREADS": "3", "RAYON_NUM_THREADS": "1"}
