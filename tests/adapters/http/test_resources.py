"""Do the documented routes tell what is loaded, steer it, and show up in the documentation?"""

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.adapters.http.health import HealthCalls
from headrace.infra.databases.state import State
from headrace.infra.databases.url import StateUrl


async def test_models_are_listed_with_their_states(house: Any, client: Any) -> None:
    await house.deployments.unload("shout")

    models = (await client.get("/api/v1/models")).json()["data"]["models"]

    states = {(model["name"], model["version"]): model["state"] for model in models}
    assert states[("double", "1")] == "ready"
    assert states[("two", "2")] == "ready"
    assert states[("shout", "1")] == "unloaded"
    assert "secret:path" not in str(models)


async def test_a_model_shows_every_version_and_its_columns(client: Any) -> None:
    data = (await client.get("/api/v1/models/double")).json()["data"]

    (version,) = data["versions"]
    assert version["inputs"] == [{"name": "x", "dtype": "float32", "datatype": "FP32", "shape": [-1, 2]}]
    assert version["runtime"] == {"platform": "test_function"}
    assert version["digest"] == "sha256:0123"
    assert datetime.fromisoformat(version["loaded_at"])


@pytest.mark.parametrize(("asked", "found"), [("2", "2"), ("canary", "2"), ("1", "1")])
async def test_a_version_is_found_by_its_alias_too(client: Any, asked: str, found: str) -> None:
    answer = await client.get(f"/api/v1/models/routed/versions/{asked}")

    assert answer.json()["data"]["version"] == found


@pytest.mark.parametrize("path", ["models/nope", "models/double/versions/9", "pipelines/nope"])
async def test_what_is_not_declared_is_not_found(client: Any, path: str) -> None:
    answer = await client.get(f"/api/v1/{path}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


async def test_a_model_can_be_unloaded_loaded_and_reloaded(house: Any, client: Any) -> None:
    body = {"inputs": {"x": [1, 2]}}
    unloaded = await client.post("/api/v1/models/double/unload")
    gone = await client.post("/models/double/predict", json=body)
    loaded = await client.post("/api/v1/models/double/load", json={"version": "1"})
    back = await client.post("/models/double/predict", json=body)
    reloaded = await client.post("/api/v1/models/routed/reload", json={"version": "canary"})

    assert unloaded.json()["data"] == {"unloaded": [{"name": "double", "version": "1"}]}
    assert gone.status_code == 503
    assert loaded.json()["data"] == {"loaded": [{"name": "double", "version": "1"}]}
    assert back.status_code == 200
    # Both versions run the same model, and must not answer from different bytes.
    assert reloaded.json()["data"] == {
        "reloaded": [{"name": "routed", "version": "2"}, {"name": "routed", "version": "1"}]
    }


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b'{"versoin": "1"}', 400), (b'{"version": "9"}', 404), (b" ", 200)]
)
async def test_the_body_of_a_reload_is_checked(client: Any, body: bytes, status: int) -> None:
    assert (await client.post("/api/v1/models/double/reload", content=body)).status_code == status


async def test_a_reload_that_fails_leaves_the_old_one_serving(house: Any, client: Any) -> None:
    house.workspace.broken = "models/double.onnx is no model"

    answer = await client.post("/api/v1/models/double/reload")
    still = await client.post("/models/double/predict", json={"inputs": {"x": [1, 2]}})

    assert (answer.status_code, still.status_code) == (422, 200)
    assert answer.json()["error"]["code"] == "invalid_config"


async def test_a_pipeline_shows_steps_schema_and_examples(client: Any) -> None:
    data = (await client.get("/api/v1/pipelines/double")).json()["data"]

    (version,) = data["versions"]
    assert version["input_schema"]["properties"]["x"] == {
        "type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2,
    }  # fmt: skip
    assert version["examples"] == [{"x": [1.0, 2.0]}]
    assert version["preprocessing"] == []


async def test_pipelines_are_listed_with_the_default(open_house: Any, connect: Any) -> None:
    async with open_house(default="double") as house, connect(house.app) as client:
        data = (await client.get("/api/v1/pipelines")).json()["data"]

    assert data["default"] == "double"
    assert {"double", "shout"} <= {pipeline["name"] for pipeline in data["pipelines"]}


async def test_health_reports_and_probes(house: Any, client: Any) -> None:
    report = (await client.get("/api/v1/health")).json()["data"]

    assert report["status"] == "ready"
    assert (await client.get("/api/v1/databases/health")).json()["data"] == []
    assert (await client.get("/health")).json()["status"] == "healthy"
    assert [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/ready")] == [200, 200, 200]
    assert (await client.head("/livez")).status_code == 200


async def test_databases_tell_how_they_are_doing(house: Any, tmp_path: Path) -> None:
    health = HealthCalls(house.inference, house.deployments, None)
    state = State(StateUrl("sqlite:///state.db"), tmp_path)

    health.databases_asked = [state.health]

    assert [(one["name"], one["dialect"], one["status"]) for one in await health.databases()] == [
        ("state", "sqlite", "empty")
    ]


async def test_a_server_that_is_not_loaded_or_stops_is_alive_and_not_ready(open_house: Any, connect: Any) -> None:
    async with open_house(start=False) as house, connect(house.app) as client:
        loading = await client.get("/readyz")
        await house.deployments.start()
        ready = await client.get("/readyz")
        house.app.drain()
        stopping = await client.get("/readyz")
        alive = await client.get("/livez")

    assert [loading.status_code, ready.status_code, stopping.status_code, alive.status_code] == [503, 200, 503, 200]
    assert loading.json()["error"]["code"] == "not_ready"
    assert "retry-after" in stopping.headers


async def test_metrics_are_what_the_collector_renders(open_house: Any, connect: Any) -> None:
    class Collector:
        def render(self) -> bytes:
            return b"headrace_in_flight 0\n"

    async with open_house([], metrics=Collector()) as house, connect(house.app) as client:
        answer = await client.get("/metrics")

    assert answer.text == "headrace_in_flight 0\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_documentation_shows_every_call_and_each_schema(client: Any) -> None:
    document = (await client.get("/openapi.json")).json()

    paths = document["paths"]
    assert {
        "/api/v1/inference", "/api/v1/models/double/predict", "/api/v1/predict/image", "/predict/image/{version}",
        "/predict/batch", "/api/v1/models", "/api/v1/models/{name}/reload", "/api/v1/pipelines/{name}",
        "/v2/models/{name}/versions/{version}/infer", "/v2", "/livez", "/metrics",
    } <= set(paths)  # fmt: skip
    body = paths["/api/v1/models/double/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = body["schema"]["properties"]["inputs"]["anyOf"][0]
    assert row["required"] == ["x"]
    assert body["examples"]["example 1"]["value"] == {"inputs": {"x": [1.0, 2.0]}}
    assert "Headrace" in (await client.get("/docs")).text


async def test_documentation_follows_what_is_loaded(house: Any, client: Any) -> None:
    before = (await client.get("/openapi.json")).json()["paths"]
    await house.deployments.unload("double")

    after = (await client.get("/openapi.json")).json()["paths"]

    assert set(before) - set(after) == {"/api/v1/models/double/predict"}


async def test_documentation_says_that_a_token_is_needed(open_house: Any, connect: Any) -> None:
    async with open_house(token="t") as house, connect(house.app) as client:
        document = (await client.get("/openapi.json", headers={"X-API-Key": "t"})).json()

    assert document["security"] == [{"token": []}]


async def test_a_long_body_to_a_documented_route_is_refused(client: Any) -> None:
    answer = await client.post("/api/v1/models/double/reload", content=bytes(11_000_000))

    assert answer.status_code == 413


async def test_long_answers_are_packed_for_those_who_can_unpack(client: Any) -> None:
    packed = await client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    plain = await client.get("/openapi.json", headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 4


async def test_long_inference_answers_are_packed_too(client: Any) -> None:
    rows = [{"x": [n, n]} for n in range(3000)]
    body = {"pipeline": "double", "inputs": rows}

    answer = await client.post("/api/v1/inference", json=body, headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["data"]["outputs"][2999] == {"y": [5998.0, 5998.0]}


async def test_a_server_without_pipelines_is_documented_too(open_house: Any, connect: Any) -> None:
    async with open_house([]) as house, connect(house.app) as client:
        assert (await client.get("/api/v1/models")).json()["data"] == {"models": []}
        assert (await client.get("/openapi.json")).status_code == 200


def test_the_door_does_not_import_the_framework() -> None:
    probe = (
        "import sys, headrace.adapters.http.app as app, headrace.adapters.http.serve\n"
        "print(sorted({'fastapi', 'pydantic', 'starlette'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
