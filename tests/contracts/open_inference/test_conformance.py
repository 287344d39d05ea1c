"""Do health, metadata, answers, errors and unknown fields follow the protocol, and so the extensions announced?"""

import json
from typing import Any

import pytest
from tests.contracts.open_inference import rules
from tests.contracts.open_inference.echoes import DTYPES, WRITER, Served
from tests.contracts.open_inference.rules import breaches

from headrace.adapters.open_inference.datatypes import DATATYPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "/v2/models/float32-vector"
GOOD: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


async def get(served: Served, path: str) -> Any:
    answer = await served.http.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def post(served: Served, path: str, body: Any) -> Any:
    return await served.http.post(path, json=body)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/v2", rules.SERVER),
        ("/v2/", rules.SERVER),
        ("/v2/health/live", rules.LIVE),
        ("/v2/health/ready", rules.READY),
        (MODEL, rules.MODEL),
        (f"{MODEL}/versions/1", rules.MODEL),
        (f"{MODEL}/ready", rules.MODEL_READY),
        (f"{MODEL}/versions/1/ready", rules.MODEL_READY),
        (f"{MODEL}/stats", rules.STATISTICS),
        (f"{MODEL}/versions/1/stats", rules.STATISTICS),
        ("/v2/models/stats", rules.STATISTICS),
    ],
)
async def test_what_is_told_has_the_form_of_the_protocol(served: Served, path: str, rule: Any) -> None:
    assert breaches(await get(served, path), rule) == []


async def test_every_extension_that_answers_is_announced(served: Served) -> None:
    announced = (await get(served, "/v2"))["extensions"]

    assert sorted(announced) == [
        "binary_tensor_data", "classification", "generate", "model_repository", "parameters", "schedule_policy",
        "statistics",
    ]  # fmt: skip


async def test_the_index_lists_what_is_declared(served: Served) -> None:
    answer = await served.http.post("/v2/repository/index")

    assert breaches(answer.json(), rules.INDEX) == []
    assert {"name": "float32-vector", "version": "1", "state": "READY", "reason": ""} in answer.json()


@pytest.mark.parametrize("dtype", DTYPES)
async def test_metadata_names_the_datatype_of_a_column(served: Served, dtype: str) -> None:
    told = await get(served, f"/v2/models/{dtype}-vector")

    assert told["inputs"] == [{"name": "x", "datatype": DATATYPES.get(dtype, "BYTES"), "shape": [-1, 3]}]
    assert told["platform"] == "echo"


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1"])
@pytest.mark.parametrize("binary", [False, True])
async def test_answers_have_the_form_of_the_protocol(served: Served, path: str, binary: bool) -> None:
    body = {**GOOD, "id": "q-1", "parameters": {"binary_data_output": binary}}

    answer = await post(served, f"{path}/infer", body)

    head = answer.headers.get("inference-header-content-length")
    told = json.loads(answer.content[: int(head) if head else None])
    assert breaches(told, rules.ANSWER) == []
    assert (told["id"], told["model_name"], told["model_version"]) == ("q-1", "float32-vector", "1")
    assert all(("data" in output) is not binary for output in told["outputs"])
    assert answer.headers["content-type"] == ("application/octet-stream" if binary else "application/json")


async def test_an_empty_list_of_outputs_means_all(served: Served) -> None:
    answer = await post(served, f"{MODEL}/infer", {**GOOD, "outputs": []})

    assert [output["name"] for output in answer.json()["outputs"]] == ["x", "digest"]


@pytest.mark.parametrize("name", ["float32-vector", None])
async def test_a_body_may_repeat_the_name_in_the_path(served: Served, name: str | None) -> None:
    answer = await post(served, f"{MODEL}/infer", {**GOOD, "model_name": name, "model_version": "1"})

    assert answer.status_code == 200


UNKNOWN: dict[str, Any] = {
    "request": {**GOOD, "colour": "red"},
    "input": {"inputs": [{**GOOD["inputs"][0], "colour": "red"}]},
    "output": {**GOOD, "outputs": [{"name": "x", "colour": "red"}]},
}


@pytest.mark.parametrize("where", UNKNOWN)
async def test_a_field_that_is_not_of_the_protocol_is_named(served: Served, where: str) -> None:
    answer = await post(served, f"{MODEL}/infer", UNKNOWN[where])

    assert answer.status_code == 400
    assert breaches(answer.json(), rules.ERROR) == []
    assert "unknown field 'colour'" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/nothing/ready", 404),
        ("GET", "/v2/models/nothing/stats", 404),
        ("GET", f"{MODEL}/versions/9", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", f"{MODEL}/nothing", 404),
        ("POST", "/v2/models/nothing/infer", 404),
        ("GET", f"{MODEL}/infer", 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/repository/models/nothing/load", 404),
        ("POST", "/v2/repository/models/nothing/unload", 404),
    ],
)
async def test_failures_have_the_form_of_the_protocol(served: Served, method: str, path: str, status: int) -> None:
    answer = await served.http.request(method, path, json=GOOD if path.endswith("infer") else None)

    assert answer.status_code == status
    assert breaches(answer.json(), rules.ERROR) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("/v2/systemsharedmemory/status", "system_shared_memory"),
        ("/v2/systemsharedmemory/region/r/register", "system_shared_memory"),
        ("/v2/cudasharedmemory/unregister", "cuda_shared_memory"),
        ("/v2/trace/setting", "trace"),
        (f"{MODEL}/trace/setting", "trace"),
        ("/v2/logging", "logging"),
        (f"{MODEL}/config", "model_configuration"),
        (f"{MODEL}/versions/1/config", "model_configuration"),
    ],
)
async def test_an_extension_that_is_not_served_says_so(served: Served, method: str, path: str, extension: str) -> None:
    answer = await served.http.request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == 400
    assert breaches(answer.json(), rules.ERROR) == []
    assert f"the {extension} extension is not served here" in answer.json()["error"]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"config": "{}"}, "not uploaded"),
        ({"file:1/model.onnx": "AAAA"}, "not uploaded"),
    ],
)
async def test_load_takes_no_configuration_and_no_files(served: Served, parameters: Any, told: str) -> None:
    answer = await post(served, "/v2/repository/models/float32-vector/load", {"parameters": parameters})

    assert answer.status_code == 400
    assert told in answer.json()["error"]


async def test_a_model_is_unloaded_and_loaded_again(served: Served) -> None:
    name = "uint8-scalar"

    assert (await served.http.post(f"/v2/repository/models/{name}/unload")).status_code == 200
    unloaded = await served.http.get(f"/v2/models/{name}/ready")
    ready = (await post(served, "/v2/repository/index", {"ready": True})).json()
    assert (await post(served, f"/v2/repository/models/{name}/load", {})).status_code == 200

    assert unloaded.status_code == 503
    assert breaches(unloaded.json(), rules.ERROR) == []
    assert name not in {one["name"] for one in ready}
    assert (await get(served, f"/v2/models/{name}/ready"))["ready"] is True


async def test_statistics_count_rows_batches_and_failures_in_nanoseconds(served: Served) -> None:
    model = "/v2/models/int32-vector"
    tensor = {"name": "x", "shape": [2, 3], "datatype": "INT32", "data": [1, 2, 3, 4, 5, 6]}
    await post(served, f"{model}/infer", {"inputs": [tensor]})
    await post(served, f"{model}/infer", {"inputs": [{**tensor, "data": [2**40] * 6}]})

    (told,) = (await get(served, f"{model}/stats"))["model_stats"]

    stats = told["inference_stats"]
    assert (told["name"], told["version"]) == ("int32-vector", "1")
    assert (stats["success"]["count"], stats["fail"]["count"]) == (1, 1)
    assert stats["success"]["ns"] > stats["compute_infer"]["ns"] > 0
    assert told["inference_count"] == 2 * told["execution_count"]
    assert [one["batch_size"] for one in told["batch_stats"]] == [2]
    assert told["last_inference"] > 1_700_000_000_000


@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_generate_answers_with_the_whole_text(served: Served, version: str) -> None:
    body = {"text_input": "one two three", "id": "g", "parameters": {"max_tokens": 2}}

    answer = await post(served, f"/v2/models/{WRITER}{version}/generate", body)

    assert breaches(answer.json(), rules.GENERATED) == []
    assert (answer.json()["text_output"], answer.json()["id"]) == ("one two", "g")


async def test_generate_stream_answers_in_events(served: Served) -> None:
    answer = await post(served, f"/v2/models/{WRITER}/generate_stream", {"text_input": "one two", "max_tokens": 5})

    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["text_output"] for event in events] == ["one", " two"]
    assert all(breaches(event, rules.GENERATED) == [] for event in events)


@pytest.mark.parametrize("call", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("model", "body", "told"),
    [
        (WRITER, {}, "text_input"),
        (WRITER, {"text_input": 5}, "text_input"),
        (WRITER, [], "text_input"),
        (WRITER, {"text_input": "a", "colour": 1}, "unknown field 'colour'"),
        (WRITER, {"text_input": "a", "parameters": [1]}, "parameters"),
        (WRITER, {"text_input": "a", "parameters": {"timeout": -1}}, "timeout"),
        (WRITER, {"text_input": "a", "id": 5}, "id"),
        (WRITER, {"text_input": "a", "max_tokens": "many"}, "max_tokens"),
        ("string-scalar", {"text_input": "a"}, "the input 'text'"),
        ("float32-vector", {"text_input": "a"}, "takes no text"),
        ("nothing", {"text_input": "a"}, "nothing"),
    ],
)
async def test_what_cannot_be_generated(served: Served, call: str, model: str, body: Any, told: str) -> None:
    answer = await post(served, f"/v2/models/{model}/{call}", body)

    assert 400 <= answer.status_code < 500
    assert breaches(answer.json(), rules.ERROR) == []
    assert told in answer.json()["error"]


async def test_rules_find_what_is_wrong() -> None:
    assert breaches({"name": "a"}, rules.MODEL_READY) == ["body lacks ready"]
    assert breaches({"live": 1}, rules.LIVE) == ["body.live: truth is wanted, not 1"]
    assert breaches([{"name": "a", "state": "READY", "more": 1}], rules.INDEX) == [
        "body[0] has more, which the protocol does not know"
    ]
