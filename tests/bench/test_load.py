"""Are the load generators told what to send, and is what they print understood?"""

import re

import pytest
from bench.load import LoadFailed, lua_script, lua_string, parse_h2load_log, parse_wrk

from bench import load

HEADERS = {"Content-Type": "application/json"}
PRINTED = """Running 1s test @ http://127.0.0.1:1/x
bench-result {"requests":200,"duration_us":2000000,"p50":1500,"p95":2500,"p99":4000,"errors":20}
"""


def unescaped(literal: str) -> bytes:
    """What Lua makes of a quoted string."""
    assert literal.startswith('"') and literal.endswith('"')
    parts = re.findall(r"\\(\d{3})|([^\\])", literal[1:-1])
    return b"".join(bytes([int(code)]) if code else plain.encode() for code, plain in parts)


def test_every_byte_survives_a_lua_string() -> None:
    every = bytes(range(256))

    assert unescaped(lua_string(every)) == every
    assert lua_string(b'{"x":1}') == '"{\\034x\\034:1}"'


def test_one_body_is_set_once_and_several_take_turns() -> None:
    one, two = lua_script([b"a"], HEADERS), lua_script([b"a", b"b"], HEADERS)

    assert 'wrk.body = "a"' in one and "request =" not in one
    assert '{"a", "b"}' in two and "request =" in two
    assert 'wrk.headers["Content-Type"] = "application/json"' in one


def test_answers_of_wrk_are_those_that_did_not_fail() -> None:
    found = parse_wrk(PRINTED)

    assert (found.per_second, found.errors) == (90.0, 20)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (1.5, 2.5, 4.0)


def test_wrk_without_our_line_is_a_failure_that_quotes_it() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_percentiles_of_a_given_rate_come_from_the_log_of_h2load() -> None:
    log = "".join(f"{1000 + n}\t200\t{n * 1000}\n" for n in range(1, 101)) + "9\t503\t1\n9\t-1\t1\n"

    found = parse_h2load_log(log, 2)

    assert (found.per_second, found.errors) == (50.0, 2)
    assert found.p50_ms == 50.5 and found.p99_ms == pytest.approx(99.01)


def test_a_given_rate_that_nobody_answers_is_a_failure() -> None:
    with pytest.raises(LoadFailed, match="no answer"):
        parse_h2load_log("1\t503\t1\n", 1)


def test_missing_load_generators_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert load.missing_tools() == ["wrk (package wrk)", "h2load (package nghttp2-client)"]
