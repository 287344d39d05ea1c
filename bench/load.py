"""How is a server put under load, and what did the load see? `wrk` for closed loops, `h2load` for a given rate."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
CLIENTS_AT_RATE = 64
MARK = "bench-result "

# `done` is called once by wrk, with latencies in microseconds.
DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('%s{"requests":%%d,"duration_us":%%d,"p50":%%d,"p95":%%d,"p99":%%d,"errors":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class LoadFailed(Exception):
    """The load generator is missing, or did not end as it should."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of load saw: answers a second, latencies in milliseconds, and how many requests failed."""

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


def missing_tools() -> list[str]:
    """The load generators that are not installed, each with the package that usually holds it."""
    return [f"{tool} (package {package})" for tool, package in PACKAGES.items() if shutil.which(tool) is None]


def closed_loop(
    url: str, bodies: Sequence[bytes], headers: Mapping[str, str], *, connections: int, seconds: int
) -> Load:
    """Keep *connections* clients busy, each sending its next request when the last one is answered.

    Raises LoadFailed when wrk is missing, fails or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(lua_script(bodies, headers))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(script), url]
        return parse_wrk(_run(command, seconds + 20))


def given_rate(url: str, body: bytes, headers: Mapping[str, str], *, rate: float, seconds: int) -> Load:
    """Send *rate* requests a second over 64 connections, whether or not earlier ones were answered.

    Latencies are counted from the moment a request is sent. Raises LoadFailed as `closed_loop` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "body", Path(folder) / "log"
        data.write_bytes(body)
        given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        pace = ["-c", str(CLIENTS_AT_RATE), "-t", "1", "-m", "1", "-D", str(seconds)]
        each = f"--rps={rate / CLIENTS_AT_RATE:.3f}"
        _run(["h2load", "--h1", *pace, each, "-d", str(data), *given, f"--log-file={log}", url], seconds + 20)
        return parse_h2load_log(log.read_text(), seconds)


def grpc_loop(url: str, message: bytes, *, connections: int, seconds: int) -> Load:
    """Keep *connections* gRPC clients busy with one framed *message*. Raises LoadFailed as `closed_loop` does."""
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "message", Path(folder) / "log"
        data.write_bytes(message)
        command = ["h2load", "-c", str(connections), "-t", "1", "-m", "1", "-D", str(seconds), "-d", str(data)]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        _run([*command, *headers, f"--log-file={log}", url], seconds + 20)
        return parse_h2load_log(log.read_text(), seconds)


def lua_script(bodies: Sequence[bytes], headers: Mapping[str, str]) -> str:
    """The wrk script that posts *bodies*, one after the other when there are several."""
    lines = ['wrk.method = "POST"']
    lines += [f"wrk.headers[{lua_string(name.encode())}] = {lua_string(value.encode())}"
              for name, value in headers.items()]  # fmt: skip
    if len(bodies) == 1:
        lines.append(f"wrk.body = {lua_string(bodies[0])}")
    else:
        # Requests are put together once: the load must not take more of the machine than it has to.
        lines.append(f"local bodies = {{{', '.join(map(lua_string, bodies))}}}")
        lines.append("local made, at = {}, 0")
        lines.append("init = function() for i, b in ipairs(bodies) do made[i] = wrk.format(nil, nil, nil, b) end end")
        lines.append("request = function() at = at % #made + 1; return made[at] end")
    return "\n".join(lines) + DONE % MARK


def lua_string(value: bytes) -> str:
    """*value* as a Lua literal, byte for byte."""
    plain = set(range(32, 127)) - {ord('"'), ord("\\")}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in value) + '"'


def parse_wrk(output: str) -> Load:
    """The figures that our script makes wrk print. Raises LoadFailed when there are none."""
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise LoadFailed(f"wrk printed no result: {output.strip()[-300:]}")
    found = json.loads(line.removeprefix(MARK))
    failed, seconds = found["errors"], found["duration_us"] / 1e6
    answered = max(0, found["requests"] - failed)
    return Load(answered / seconds, found["p50"] / 1e3, found["p95"] / 1e3, found["p99"] / 1e3, failed)


def parse_h2load_log(log: str, seconds: float) -> Load:
    """The figures of h2load's log: a line for each request with start (us), status and duration (us).

    Raises LoadFailed when nothing was answered.
    """
    rows = [line.split("\t") for line in log.splitlines() if line.count("\t") >= 2]
    spent = np.array([int(row[2]) for row in rows if row[1] == "200"], dtype=np.float64) / 1e3
    if not len(spent):
        raise LoadFailed("h2load got no answer with status 200")
    p50, p95, p99 = np.percentile(spent, [50, 95, 99])
    return Load(len(spent) / seconds, float(p50), float(p95), float(p99), len(rows) - len(spent))


def _run(command: Sequence[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise LoadFailed(f"{command[0]} is not installed (package {PACKAGES[command[0]]})") from None
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise LoadFailed(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
