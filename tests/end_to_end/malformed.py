"""Requests that should not be: right ones with something wrong in them, noise, and what is no HTTP at all."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
PICTURE = base64.b64encode((ROOT / "examples/digits/examples/three.png").read_bytes()).decode()
ROW = {"age": 41.5, "visits": 3, "plan": "basic", "scores": [0, 1, 2.5, 3]}


def _tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


TENSORS = [
    _tensor("age", [2], "FP32", [1.5, 2]),
    _tensor("visits", [2], "INT64", [1, 2]),
    _tensor("plan", [2], "BYTES", ["a", "b"]),
]
TABULAR = """
model:
  name: table
  type: echo
  input_spec:
    - {name: age, dtype: float32, shape: [-1]}
    - {name: visits, dtype: int64, shape: [-1]}
    - {name: plan, dtype: string, shape: [-1]}
    - {name: scores, dtype: float32, shape: [-1, 4], default: [0, 0, 0, 0]}
    - {name: extra, dtype: any, shape: [-1], default: 0}
"""


@dataclass(frozen=True)
class Request:
    """What is sent; *headers* come beside the usual ones."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


RIGHT: Sequence[tuple[str, Any]] = (
    ("/api/v1/inference", {"pipeline": "tabular", "version": "1", "inputs": ROW, "options": {"a": 1}}),
    ("/api/v1/inference", {"pipeline": "digits", "inputs": {"image": {"base64": PICTURE}}}),
    ("/api/v1/models/tabular/predict", {"inputs": [ROW, ROW], "model": "table"}),
    ("/models/digits-mlp/predict", {"inputs": {"pixels": [0.0] * 64}}),
    ("/v2/models/tabular/infer", {"id": "1", "inputs": TENSORS, "outputs": [{"name": "age"}], "parameters": {}}),
    ("/v2/models/tabular/versions/1/infer", {"inputs": TENSORS, "parameters": {"priority": 1, "timeout": 900000}}),
    ("/v2/models/digits-mlp/infer", {"inputs": [_tensor("pixels", [1, 64], "FP32", [0.5] * 64)]}),
    ("/v2/models/digits/infer", {"inputs": [_tensor("image", [1], "BYTES", [PICTURE])]}),
    ("/v2/models/tabular/generate", {**ROW}),
    ("/v1/embeddings", {"model": "tabular", "input": ["a", "b"], "encoding_format": "float"}),
    ("/v1/chat/completions", {"model": "tabular", "messages": [{"role": "user", "content": "hi"}], "stream": False}),
    ("/api/v1/streams/visits/events", {"events": [ROW, ROW]}),
    ("/api/v1/streams/visits/events", [ROW]),
    ("/predict/text", {"text": "a", "pipeline": "tabular"}),
)  # fmt: skip

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 2**64, 10**400, 1e308, -0.0, 1e-320]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "NaN", "1", "true", "\x00", "\ud800", "💧", "../../etc/passwd", "${HOME}", "FP32", "BYTES"]),
)
_changes = st.sampled_from([*["put"] * 6, "wrap", "drop", "add"])
_names = st.one_of(st.text(max_size=8), st.sampled_from(["base64", "url", "file", "id"]))
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=6,
)
_headers: st.SearchStrategy[dict[str, str]] = st.sampled_from(
    [
        *({} for _ in range(40)),
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "multipart/form-data; boundary=b"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "deflate"},
        {"Content-Encoding": "br"},
        {"X-Timeout-Ms": "-1"},
        {"X-Timeout-Ms": "1e400"},
        {"Inference-Header-Content-Length": "20"},
        {"Inference-Header-Content-Length": "99999999999999999999"},
        {"Accept-Encoding": "gzip", "X-Request-ID": "\xff" * 50},
        {"Origin": "http://elsewhere.example"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Expect": "100-continue"},
        {"traceparent": "00-zz"},
    ]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside *value*."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in _places(item, (*path, key)))]


def _changed(value: Any, path: tuple[Any, ...], change: str, other: Any) -> Any:
    if not path:
        return {"put": other, "wrap": [value], "drop": {}, "add": other}[change]
    copy = dict(value) if isinstance(value, dict) else list(value)
    key, rest = path[0], path[1:]
    if rest:
        copy[key] = _changed(copy[key], rest, change, other)
    elif change == "drop":
        del copy[key]
    elif change == "add" and isinstance(copy, dict):
        copy[str(other)[:40]] = other
    else:
        copy[key] = [copy[key]] if change == "wrap" else other
    return copy


@st.composite
def mutated(draw: st.DrawFn) -> Request:
    """A right request with one or two wrong things in it, and sometimes with its bytes cut or spoilt."""
    path, body = draw(st.sampled_from(RIGHT))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(_places(body)[1:] or [()]))
        body = _changed(body, place, draw(_changes), draw(_values))
    written = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return Request(path, draw(_spoilt(written)), draw(_headers))


def _spoilt(written: bytes) -> st.SearchStrategy[bytes]:
    size = len(written)
    return st.one_of(
        *(st.just(written) for _ in range(8)),
        st.integers(0, size).map(lambda end: written[:end]),
        st.tuples(st.integers(0, size), st.binary(min_size=1, max_size=6)).map(
            lambda at: written[: at[0]] + at[1] + written[at[0] :]
        ),
        st.sampled_from([b"NaN", b"-Infinity", b"1e999", b"[" * 2000, b'{"a":' * 500, b"\xef\xbb\xbf"]).map(
            lambda odd: written.replace(b"1", odd, 1) if b"1" in written else odd + written
        ),
    )


@st.composite
def noise(draw: st.DrawFn) -> Request:
    """Any bytes to any path with any method."""
    paths = [path for path, _ in RIGHT]
    odd = [
        "/",
        "//",
        "/api/v1/streams/visits/ws",
        "/api/v1/jobs",
        "/v2/models/%00/infer",
        "/%ff%fe",
        "/api/v1/models/" + "a" * 5000,
    ]
    path = draw(st.sampled_from([*paths, *odd, "/predict/image", "/api/v1/predict/batch"]))  # fmt: skip
    method = draw(st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]))
    body = draw(st.one_of(st.binary(max_size=300), st.sampled_from([b"", b"null", b"[]", b"{}", b"--b\r\n\r\n--b--"])))
    return Request(path, body, draw(_headers), method)


def no_http() -> st.SearchStrategy[bytes]:
    """Bytes for a connection of their own: heads that are wrong, or lie about what follows."""
    lines = st.sampled_from(
        [b"host: t", b"content-length: 5", b"content-length: -1", b"content-length: 99999999999999999999", b"a" * 9000,
         b"transfer-encoding: chunked", b"connection: close", b"x: \x00", b": y", b"\xff: y", b"upgrade: websocket",
         b"connection: upgrade", b"expect: 100-continue"]
    )  # fmt: skip
    starts = st.sampled_from(
        [b"POST /v2/models/tabular/infer HTTP/1.1", b"GET /livez HTTP/1.0", b"GET / HTTP/2.0", b"PRI * HTTP/2.0", b"",
         b"POST  HTTP/1.1", b"GET http://[::1 HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"CONNECT a:1 HTTP/1.1"]
    )  # fmt: skip
    tails = st.sampled_from([b"", b"{}", b"zz\r\n", b"5\r\nabcde\r\n0\r\n\r\n", b"\x00" * 50])
    return st.tuples(starts, st.lists(lines, max_size=6), tails).map(
        lambda parts: parts[0] + b"\r\n" + b"".join(line + b"\r\n" for line in parts[1]) + b"\r\n" + parts[2]
    )
