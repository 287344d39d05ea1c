"""How much time is left reaches the steps and remote models, through every door, and ends a request half way."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.end_to_end.servers import Server, serving
from tests.servers.ports import free_port

from headrace.adapters.grpc.generated import open_inference_pb2 as messages

pytestmark = pytest.mark.slow

MODELS = '''
"""A model that lives elsewhere, as far as the server knows, and tells how long it has."""

import time
from pathlib import Path

from headrace import ModelAdapter
from headrace.domain.model import RemoteModel
from headrace.domain.tensors import TensorSpec

X = {"x": TensorSpec("float32", (-1,), "x")}
LEFT = {"model_left": TensorSpec("float64", (-1,), "model_left")}


class Elsewhere(RemoteModel):
    def load(self, model_path, config):
        pass

    async def predict(self, inputs, deadline):
        return {"model_left": [deadline - time.monotonic()] * len(inputs["x"])}

    def get_input_spec(self):
        return X

    def get_output_spec(self):
        return LEFT


def counted(x):
    with (Path(__file__).parent / "rows").open("a") as rows:
        print(*(int(value) for value in x), file=rows)
    return {"y": x}
'''
STEPS = '''
"""Steps that know how long they have."""

import time

from headrace.domain.step import step


@step(writes=["step_left"])
def left(x, context):
    return [context.deadline - time.monotonic()] * len(x)


@step(writes=["x"])
def dawdle(x, context):
    if max(x) >= 100:
        while not context.late():
            time.sleep(0.001)
    return x
'''
COLUMNS = "input_spec: [{name: x, shape: [-1]}], output_spec: [{name: y, shape: [-1]}]"
FILES = {
    "models/code.py": MODELS,
    "steps/times.py": STEPS,
    "config/pipelines/far.yaml": """
model: {type: python, path: "models/code.py:Elsewhere"}
preprocessing: [{name: left}]
outputs: [step_left, model_left]
timeout_s: 20
""",
    "config/pipelines/slow.yaml": f"""
model: {{type: python, path: "models/code.py:counted", {COLUMNS}}}
preprocessing: [{{name: dawdle}}]
""",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int, Path]]:
    folder, grpc_port = tmp_path_factory.mktemp("time_left"), free_port()
    for name, text in {**FILES, "config/main.yaml": f"api: {{grpc_port: {grpc_port}}}\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with serving(folder) as server:
        yield server, grpc_port, folder


def native(server: Server, _: int, seconds: float | None) -> list[float]:
    headers = {} if seconds is None else {"X-Timeout-Ms": str(seconds * 1e3)}
    answer = post(server, "/api/v1/models/far/predict", {"inputs": {"x": 1}}, headers)[1]
    return [answer["data"]["outputs"][name] for name in ("step_left", "model_left")]


def open_inference(server: Server, _: int, seconds: float | None) -> list[float]:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    parameters = {} if seconds is None else {"timeout": int(seconds * 1e6)}
    answer = post(server, "/v2/models/far/infer", {"inputs": [tensor], "parameters": parameters})[1]
    return [column(output["datatype"], output["data"]) for output in answer["outputs"]]


def column(datatype: str, data: Sequence[Any]) -> float:
    return float(json.loads(data[0]) if datatype == "BYTES" else data[0])


def through_grpc(_: Server, port: int, seconds: float | None) -> list[float]:
    asked = messages.ModelInferRequest(model_name="far")
    asked.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            messages.ModelInferRequest.SerializeToString,
            messages.ModelInferResponse.FromString,
        )
        answer = call(asked, timeout=seconds)
    return [
        column(output.datatype, output.contents.fp64_contents or output.contents.bytes_contents)
        for output in answer.outputs
    ]


def post(server: Server, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("POST", path, json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(("seconds", "least"), [(8.0, 5.0), (None, 15.0)])
@pytest.mark.parametrize("ask", [native, open_inference, through_grpc])
def test_steps_and_remote_models_know_how_long_their_callers_wait(
    served: tuple[Server, int, Path],
    ask: Callable[[Server, int, float | None], list[float]],
    seconds: float | None,
    least: float,
) -> None:
    server, grpc_port, _ = served

    step_left, model_left = ask(server, grpc_port, seconds)

    # gRPC's own clients round what they wait up to three digits on the wire, so that 8.000 s may be told as 8.01 s.
    assert least < model_left <= step_left <= (seconds or 20.0) * 1.01


def test_what_expires_in_a_step_never_reaches_the_model(served: tuple[Server, int, Path]) -> None:
    server, _, folder = served

    status, answer = post(server, "/api/v1/models/slow/predict", {"inputs": {"x": 100}}, {"X-Timeout-Ms": "50"})
    after, right = post(server, "/api/v1/models/slow/predict", {"inputs": {"x": 7}})

    assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")
    assert (after, right["data"]["outputs"]) == (200, {"y": 7.0})
    rows = (folder / "models" / "rows").read_text().split()
    assert "7" in rows
    assert "100" not in rows
