"""Is a process that the kernel killed for lack of memory told from one that somebody killed?"""

import os
import signal
from pathlib import Path

import pytest
from tests.infra.isolation.models import eventually, isolated, state

from headrace.infra.isolation import process
from headrace.infra.isolation.causes import KernelKills, cause_of


def counted(file: Path, kills: int) -> Path:
    """What the kernel shows after so many *kills*."""
    file.write_text(f"pgfault 10\noom_kill {kills}\noom_kill_other 99\n")
    return file


def test_a_process_that_the_kernel_kills_while_it_counts_is_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = counted(tmp_path / "vmstat", 3)
    monkeypatch.setattr(process, "KernelKills", lambda: KernelKills(counters))
    with isolated(tmp_path, "double") as model:
        os.kill(state(model)["pid"], signal.SIGKILL)
        eventually(lambda: state(model)["restarts"] == 1 and state(model)["pid"] is not None)
        by_hand = state(model)["last_cause"]
        counted(counters, 4)
        os.kill(state(model)["pid"], signal.SIGKILL)
        eventually(lambda: state(model)["restarts"] == 2)

        assert by_hand == "killed by SIGKILL"
        assert state(model)["last_cause"] == "killed by the kernel (SIGKILL), which was out of memory"
        assert model.restarts() == {"signal": 1, "out_of_memory": 1}  # type: ignore[attr-defined]


def test_a_process_that_takes_a_while_to_end_was_killed_lately(tmp_path: Path) -> None:
    kills = KernelKills(counted(tmp_path / "vmstat", 3), lately_s=60)
    kills.look()
    counted(tmp_path / "vmstat", 4)
    kills.look()
    kills.look()

    assert kills.lately()


def test_what_was_killed_long_ago_explains_nothing(tmp_path: Path) -> None:
    kills = KernelKills(counted(tmp_path / "vmstat", 3), lately_s=0)
    counted(tmp_path / "vmstat", 4)
    kills.look()
    kills.look()

    assert not kills.lately()


@pytest.mark.parametrize("content", [None, "", "pgfault 10\n"])
def test_a_system_that_does_not_count_has_killed_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vmstat").write_text(content)
    kills = KernelKills(tmp_path / "vmstat")

    assert not kills.lately()


@pytest.mark.parametrize(
    ("returncode", "short", "kind", "text"),
    [
        (-signal.SIGKILL, True, "out_of_memory", "killed by the kernel (SIGKILL), which was out of memory"),
        (-signal.SIGKILL, False, "signal", "killed by SIGKILL"),
        (-signal.SIGSEGV, True, "signal", "killed by SIGSEGV"),
        (-99, False, "signal", "killed by signal 99"),
        (3, True, "exit", "it ended by itself with exit code 3"),
    ],
)
def test_a_return_code_says_why(returncode: int, short: bool, kind: str, text: str) -> None:
    cause = cause_of(returncode, short_of_memory=short)

    assert (cause.kind, cause.text) == (kind, text)
