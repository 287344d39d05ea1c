"""A process is known by more than its number, and one of another machine is left to its own words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.infra.databases import job_processes
from headrace.infra.databases.job_processes import is_gone, mark


def waiting() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def test_a_process_that_is_there_is_not_gone() -> None:
    with waiting() as process:
        marks = [mark(pid) for pid in (os.getpid(), process.pid)]

        assert not is_gone(os.getpid(), marks[0])
        assert not is_gone(process.pid, marks[1])
        assert marks[0] != marks[1]
        process.communicate(b"\n")


def test_a_process_that_was_killed_is_gone_before_and_after_its_parent_has_noticed() -> None:
    with waiting() as process:
        marked = mark(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays as a zombie
        before = is_gone(process.pid, marked)
        process.wait()

        assert (before, is_gone(process.pid, marked)) == (True, True)


def test_another_process_with_the_same_number_is_told_apart() -> None:
    place = mark(os.getpid()).partition(":")[0]

    assert is_gone(os.getpid(), f"{place}:1")


def test_of_a_process_elsewhere_nothing_is_known() -> None:
    assert not is_gone(2**22 + 1, "elsewhere:1")


def test_a_program_whose_name_looks_like_the_next_fields_is_read_rightly(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/cat")  # the kernel takes the name from the path
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"here\n")
        process.stdin.flush()
        process.stdout.readline()

        assert not is_gone(process.pid, mark(process.pid))
        process.communicate()


def test_without_a_list_of_processes_none_is_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_processes, "_began", lambda _: None)  # as on macOS

    assert not is_gone(os.getpid(), mark(os.getpid()))
