"""Do the numbers of several processes come to what one process would have counted?"""

from headrace.core.families import Family, Sample, gauge, lasting, together

BOUNDS = (0.1, 1.0)


def requests(**counts: float) -> Family:
    samples = tuple(Sample((name,), value) for name, value in counts.items())
    return Family("counter", "headrace_requests", "Requests.", ("pipeline",), samples)


def seconds(value: float, *counts: int) -> Family:
    return Family("histogram", "headrace_seconds", "Seconds.", (), (Sample((), value, BOUNDS, counts),))


def test_counters_add_up_label_by_label() -> None:
    assert together([[requests(a=1, b=2)], [requests(b=3, c=4)]]) == [requests(a=1, b=5, c=4)]


def test_histograms_add_up_bucket_by_bucket() -> None:
    assert together([[seconds(0.5, 1, 2, 3)], [seconds(2.0, 10, 0, 1)]]) == [seconds(2.5, 11, 2, 4)]


def test_gauges_add_up_where_a_sum_means_something() -> None:
    names = ("headrace_in_flight", "headrace_stream_lag", "headrace_cache_up")
    one = [gauge(name, "", "of", {"a": value}) for name, value in zip(names, (2, 7, 1), strict=True)]
    two = [gauge(name, "", "of", {"a": value}) for name, value in zip(names, (3, 5, 0), strict=True)]

    found = [family.samples[0].value for family in together([one, two])]

    assert found == [5, 7, 0]


def test_a_family_that_only_one_process_has_is_shown() -> None:
    assert together([[], [requests(a=1)], []]) == [requests(a=1)]


def test_what_a_process_had_under_way_ends_with_it() -> None:
    under_way = gauge("headrace_in_flight", "", "pipeline", {"a": 2})

    assert lasting([requests(a=1), under_way, seconds(0.5, 1, 2, 3)]) == [requests(a=1), seconds(0.5, 1, 2, 3)]
