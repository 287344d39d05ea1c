"""What is far too large, too deep or no number: refused at once, in flat memory, and the next good one is answered."""

import gzip
import http.client
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from .malformed import ROW
from .servers import Server, serving
from .test_malformed import workspace

MB: Final = 2**20
LIMIT_S: Final = 0.1
"""What the requirement grants; the best of some attempts counts, since the machine is shared with other tests."""
ATTEMPTS: Final = 5
GROWTH_MB: Final = 40.0
PEAK_MB: Final = 160.0
"""How far memory may rise while such a request is refused: a body of 10 MB, unpacked and read, several times over."""
TABULAR = "/api/v1/models/tabular/predict"
DIGITS = "/api/v1/models/digits/predict"
V2 = "/v2/models/tabular/infer"


@dataclass(frozen=True)
class Refusal:
    """A request, and what it is answered with; *limit_s* where the requirement names no time."""

    path: str
    body: Callable[[], bytes]
    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    limit_s: float = LIMIT_S


def row(**changed: str) -> bytes:
    """A native row in which some values are written as they are."""
    values = {name: json.dumps(value) for name, value in ROW.items()} | changed
    return b'{"inputs": {' + ", ".join(f'"{name}": {value}' for name, value in values.items()).encode() + b"}}"


def tensor(data: str) -> bytes:
    """A V2 body whose tensor of ages holds *data* as they are."""
    columns = (("visits", "INT64", "[1]"), ("plan", "BYTES", '["a"]'), ("age", "FP32", data))
    tensors = [f'{{"name": "{n}", "shape": [1], "datatype": "{kind}", "data": {given}}}' for n, kind, given in columns]
    return b'{"inputs": [' + ", ".join(tensors).encode() + b"]}"


def picture_bomb() -> bytes:
    """A PNG of some kB that would be 3.6 billion pixels."""
    side = 60_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * 1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def form(content: bytes) -> bytes:
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n"


LONG = '"' + "a" * (10 * MB - 300) + '"'
NESTED = "[" * 100_000 + "]" * 100_000
GZIP = (("Content-Encoding", "gzip"),)
FORM = (("Content-Type", "multipart/form-data; boundary=b"),)
EMPTY_PART = gzip.compress(b"")
CASES = {
    # The table of the requirement.
    "decompression bomb": Refusal(TABULAR, lambda: gzip.compress(bytes(1000 * MB), 9), 413, "too_large", GZIP),
    "2 GB declared": Refusal(TABULAR, lambda: b"", 413, "too_large", (("Content-Length", str(2**31)),)),
    "nested arrays": Refusal(TABULAR, NESTED.encode, 400, "invalid_request"),
    "nested arrays in a value": Refusal(TABULAR, lambda: row(age=NESTED), 400, "invalid_request"),
    "nested arrays in a tensor": Refusal(V2, lambda: tensor(NESTED), 400, "invalid_request"),
    "NaN": Refusal(TABULAR, lambda: row(age="NaN"), 400, "invalid_request"),
    "infinity": Refusal(TABULAR, lambda: row(age="Infinity"), 400, "invalid_request"),
    "beyond all numbers": Refusal(TABULAR, lambda: row(age="1e999"), 400, "invalid_request"),
    "NaN in a tensor": Refusal(V2, lambda: tensor("[NaN]"), 400, "invalid_request"),
    "-infinity in a tensor": Refusal(V2, lambda: tensor("[-Infinity]"), 400, "invalid_request"),
    "10 MB text for a number": Refusal(TABULAR, lambda: row(age=LONG), 422, "invalid_input"),
    "10 MB text in a tensor": Refusal(V2, lambda: tensor(f"[{LONG}]"), 422, "invalid_input"),
    # What else was found to cost much.
    "picture of 3.6 billion pixels": Refusal(
        "/predict/image", lambda: form(picture_bomb()), 413, "too_large", FORM
    ),
    "gzip of empty parts": Refusal(
        TABULAR, lambda: EMPTY_PART * (10 * MB // len(EMPTY_PART)), 400, "invalid_request", GZIP
    ),
    "million digits": Refusal(TABULAR, lambda: row(visits="1" * (10 * MB - 99)), 400, "invalid_request"),
    "many too deep for NumPy": Refusal(TABULAR, lambda: row(age="[" * 60 + "1" + "]" * 60), 422, "invalid_input"),
    "five million numbers for one": Refusal(
        TABULAR, lambda: row(age="[" + "1," * (5 * MB - 99) + "1]"), 422, "invalid_input", (), 0.5
    ),
    "three million rows": Refusal(
        TABULAR, lambda: b'{"inputs": [' + b"{}," * (3 * MB) + b"{}]}", 413, "too_large", (), 1.0
    ),
    "three million events": Refusal(
        "/api/v1/streams/visits/events", lambda: b"[" + b"{}," * (3 * MB) + b"{}]", 413, "too_large", (), 1.0
    ),
    "10 MB name of a column": Refusal(
        TABULAR, lambda: b'{"inputs": {"%s": 1}}' % (b"a" * (10 * MB - 99)), 422, "invalid_input", (), 0.5
    ),
    "10 MB name of a field": Refusal(
        TABULAR, lambda: b'{"%s": 1}' % (b"a" * (10 * MB - 99)), 400, "invalid_request", (), 0.5
    ),
    "10 MB version": Refusal(
        "/api/v1/inference",
        lambda: b'{"pipeline": "tabular", "inputs": {}, "version": "%s"}' % (b"a" * (10 * MB - 99)),
        404, "not_found", (), 0.5,
    ),
    "10 MB picture that is none": Refusal(
        DIGITS, lambda: b'{"inputs": {"image": {"base64": %s}}}' % LONG.encode(), 422, "invalid_input", (), 0.5
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(workspace(tmp_path_factory.mktemp("large"))) as found:
        yield found


def asked(server: Server, refusal: Refusal, body: bytes) -> tuple[int, Any, float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    began = time.perf_counter()
    connection.request("POST", refusal.path, body, {"Content-Type": "application/json", **dict(refusal.headers)})
    answer = connection.getresponse()
    content = answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    return answer.status, json.loads(content), seconds


def memory_mb(server: Server) -> tuple[float, float]:
    """What the server holds now, and the most that it ever held."""
    now = psutil.Process(server.process.pid).memory_info().rss / MB
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return now, peak / 1024


def forget_peak(server: Server) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read as Linux tells it")
@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_at_once_in_flat_memory(server: Server, name: str) -> None:
    refusal = CASES[name]
    body = refusal.body()
    asked(server, refusal, body)  # what is imported or allocated once is not counted
    before, _ = memory_mb(server)
    forget_peak(server)

    seen = [asked(server, refusal, body) for _ in range(ATTEMPTS)]
    after, peak = memory_mb(server)
    good = asked(server, Refusal(TABULAR, bytes, 200, ""), row())

    status, told, _ = seen[0]
    code = told["error"]["code"] if isinstance(told["error"], dict) else told["code"]
    assert (status, code) == (refusal.status, refusal.code)
    assert min(seconds for _, _, seconds in seen) < refusal.limit_s
    assert after - before < GROWTH_MB
    assert peak - before < PEAK_MB * (2 if refusal.limit_s > LIMIT_S else 1)
    assert good[0] == 200
