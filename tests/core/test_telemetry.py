"""The null telemetry takes everything and keeps nothing."""

from __future__ import annotations

import pytest

from headrace.core.telemetry import NullTelemetry, Telemetry


def test_the_null_telemetry_takes_everything() -> None:
    telemetry: Telemetry = NullTelemetry()

    telemetry.count("requests_total", pipeline="digits", name="a label may have any name")
    telemetry.count("requests_total", 32)
    telemetry.count("requests_total", value=32)
    telemetry.observe("request_seconds", 0.1, phase="infer")
    telemetry.gauge("in_flight", 3)
    with telemetry.span("predict", size=3), telemetry.span("inner"):
        pass


def test_a_null_span_lets_errors_through() -> None:
    with pytest.raises(ValueError, match="wrong"), NullTelemetry().span("predict"):
        raise ValueError("wrong")
