"""What was written of a job means something else once its process is gone."""

import pytest

from headrace.domain.jobs import SILENT_S, STATUSES, Job, Status, status_now


@pytest.mark.parametrize(
    ("silent_s", "gone", "status"),
    [
        (0.0, False, "running"),
        (SILENT_S, False, "running"),
        (SILENT_S + 0.1, False, "interrupted"),
        (0.0, True, "interrupted"),
    ],
)
def test_a_job_that_runs_is_interrupted_when_its_process_is_gone_or_silent(
    silent_s: float, gone: bool, status: Status
) -> None:
    assert status_now("running", silent_s, gone) == status


def test_how_a_job_ended_stays_as_it_was_written() -> None:
    ends = [status for status in STATUSES if status != "running"]

    assert [status_now(status, 10 * SILENT_S, True) for status in ends] == ends
    assert [Job("a", "r", "p", "1", {}, status=status).ended for status in STATUSES] == [False, *[True] * len(ends)]
