"""Runs that were never measured: figures that a reader can check by hand."""

from bench.measuring import Sample
from bench.recording import Run


def run(*samples: Sample) -> Run:
    """A run of *samples*."""
    rounds = 1 + max((one.round for one in samples), default=0)
    return Run("2026-11-21 03:00", "a machine", "3.11.7", 2, rounds, samples, {"Ray Serve, tiny": "it was tired"})


def speed(server: str, per_second: float, *, cell: str = "c64", work: str = "tiny", number: int = 0) -> Sample:
    """One sample with nothing but a speed."""
    return Sample(number, work, server, cell, per_second)
