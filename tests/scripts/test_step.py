"""Does a timed step pass on what its command did, and say how long it took?"""

import subprocess
import sys
from pathlib import Path

STEP = Path(__file__).parents[2] / "scripts" / "step.py"


def step(title: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, STEP, title, *command], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_step_says_what_it_does_and_how_long_it_took() -> None:
    done = step("counting", sys.executable, "-c", "print(42)")

    first, output, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert (first, output) == ("==> counting", "42")
    assert last.startswith("==> done in ") and last.endswith(" s")


def test_a_failing_command_fails_the_step_with_its_own_exit_code() -> None:
    failed = step("counting", sys.executable, "-c", "raise SystemExit(7)")

    assert failed.returncode == 7
    assert "failed after" in failed.stdout and "exit code 7" in failed.stdout


def test_a_command_ended_by_a_signal_counts_as_failed() -> None:
    failed = step("counting", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")

    assert failed.returncode == 137


def test_a_command_that_is_not_there_is_named() -> None:
    failed = step("counting", "no-such-command")

    assert failed.returncode == 127
    assert "no-such-command" in failed.stderr
