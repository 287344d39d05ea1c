"""Does every failure have its number, and does none tell too much?"""

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.adapters.disclosure import meaning_of
from headrace.adapters.http.errors import (
    STATUS,
    WrongMethod,
    failure,
    headers_of,
    open_inference_failure,
    status_of,
)
from headrace.domain.errors import (
    BreakerOpen,
    DependencyFailure,
    EngineError,
    InvalidConfig,
    ModelFailure,
    NotReady,
    Overloaded,
    QuotaExceeded,
)


def kinds(kind: type[EngineError] = EngineError) -> Iterator[type[EngineError]]:
    for special in kind.__subclasses__():
        yield special
        yield from kinds(special)


def test_every_kind_of_error_has_a_number() -> None:
    assert {kind.code for kind in kinds()} == set(STATUS)


def test_a_breaker_that_is_open_is_told_from_a_failure() -> None:
    assert status_of(DependencyFailure("down")) == 502
    assert status_of(BreakerOpen("down", retry_after_s=7)) == 503


def test_a_wrong_method_is_an_invalid_request_with_its_own_number() -> None:
    error = WrongMethod("PUT", ["GET", "HEAD"])

    assert (error.code, status_of(error)) == ("invalid_request", 405)
    assert headers_of(error) == [(b"allow", b"GET, HEAD")]


@pytest.mark.parametrize("kind", [QuotaExceeded, BreakerOpen, Overloaded, NotReady])
def test_whoever_may_come_back_is_told_when(kind: Any) -> None:
    assert headers_of(kind("full", retry_after_s=2.1)) == [(b"retry-after", b"3")]
    assert headers_of(kind("full", retry_after_s=0)) == [(b"retry-after", b"1")]


def test_a_fault_of_ours_tells_nothing() -> None:
    told = failure(meaning_of(KeyError("/etc/passwd")), "id-1")

    assert told["error"]["code"] == "internal"
    assert "passwd" not in str(told)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cannot open /srv/models/a.onnx", "cannot open [path]"),
        ("cannot open '/srv/models/a.onnx': gone", "cannot open '[path]': gone"),
        (r"cannot open C:\models\a.onnx now", "cannot open [path] now"),
        ("half/half of a/b/c", "half/half of a/b/c"),
        ("postgresql://me:hunter2@db/x failed", "postgresql://me:***@db/x failed"),
        ("it broke\nTraceback (most recent call last):\n  File x", "it broke"),
    ],
)
def test_paths_traces_and_secrets_stay_here(message: str, shown: str) -> None:
    error = ModelFailure(message, details={"where": message, "rows": [{"message": message}]})

    told = failure(error, "id-1")["error"]

    assert told["message"] == shown
    assert told["details"] == {"where": shown, "rows": [{"message": shown}]}
    assert open_inference_failure(error, "id-1")["error"] == shown


def test_files_of_the_workspace_may_be_named() -> None:
    message = "config/models/a.yaml:3: no key 'pth'"

    assert failure(InvalidConfig(message), "id-1")["error"]["message"] == message


async def test_a_model_that_tells_a_path_does_not_tell_it_to_callers(client: Any) -> None:
    answer = await client.post("/api/v1/inference", json={"pipeline": "double", "inputs": {"x": [13, 2]}})

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "model_failure"
    assert "secret" not in answer.text
    assert "unlucky" in answer.text


async def test_an_unexpected_exception_is_logged_with_the_id_and_hidden(
    house: Any, client: Any, monkeypatch: Any, caplog: Any
) -> None:
    def explode(*_: Any) -> None:
        raise ZeroDivisionError("in /srv/secret/place")

    monkeypatch.setattr(house.inference.router, "decide", explode)

    for path in ("/api/v1/inference", "/v2/models/double/infer"):
        body = {"inputs": {"x": [1, 2]}, "pipeline": "double"} if "api" in path else {"inputs": []}
        answer = await client.post(path, json=body, headers={"X-Request-ID": "find-me"})

        assert answer.status_code == 500
        assert "internal" in answer.text
        assert "ZeroDivision" not in answer.text
        assert "secret" not in answer.text
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2


async def test_an_exception_in_a_documented_route_is_hidden_too(
    house: Any, client: Any, monkeypatch: Any, caplog: Any
) -> None:
    def explode(*_: Any) -> None:
        raise ZeroDivisionError("in /srv/secret/place")

    monkeypatch.setattr(house.deployments, "status", explode)

    answer = await client.get("/api/v1/models")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
