"""Is everything that the contract names measured and traced, and in the same way, whichever door a row comes in by?"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.servers.otlp import Collector, Received, collecting

from headrace import assembly
from headrace.adapters.grpc.generated import open_inference_pb2 as messages
from headrace.adapters.grpc.serve import serve as serve_grpc
from headrace.adapters.http.app import create_app
from headrace.adapters.http.serve import serve as serve_http
from headrace.domain.routing import Asked
from headrace.services.job_orders import Order
from headrace.serving import exposition

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
PHASES = {"queue", "preprocess", "infer", "postprocess"}
DOORS = {"http": "request", "grpc": "request", "stream": "stream", "job": "job"}
MAIN = """\
telemetry:
  otlp_endpoint: %s
  sample: %s
  price_per_device_s: {cpu: 0.25}
  currency: EUR
"""
PIPELINE = """\
name: animals
model:
  name: mirror
  type: echo
  input_spec: [{name: probabilities, shape: [-1, 2], dtype: float32}]
  output_spec: [{name: probabilities, shape: [-1, 2], dtype: float32}]
postprocessing: [{name: labels.top_k, params: {k: 1, labels: [cat, dog]}}]
cache: {ttl_s: 60}
"""
ROW = [0.25, 0.75]


@dataclass
class House:
    """A workspace behind all its doors."""

    application: assembly.Application
    url: str
    address: str
    folder: Path
    collector: Collector

    async def ask(self, door: str, traceparent: str | None = None) -> None:
        """Send one good row through *door*."""
        headers = {} if traceparent is None else {"traceparent": traceparent}
        await getattr(self, f"_{door}")(headers)

    async def _http(self, headers: dict[str, str]) -> None:
        async with httpx2.AsyncClient(headers={**headers, "cache-control": "no-cache"}) as client:
            row = {"inputs": {"probabilities": ROW}}
            answer = await client.post(f"{self.url}/api/v1/models/animals/predict?explain=1", json=row)
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["explain"]["cost"]["currency"] == "EUR"

    async def _grpc(self, headers: dict[str, str]) -> None:
        asked = messages.ModelInferRequest(model_name="animals", raw_input_contents=[np.float32([ROW]).tobytes()])
        asked.inputs.add(name="probabilities", datatype="FP32", shape=[1, 2])
        asked.outputs.add(name="probabilities")
        async with grpc.aio.insecure_channel(self.address) as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            metadata = [*headers.items(), ("cache-control", "no-cache")]
            await ask(asked.SerializeToString(), timeout=10, metadata=metadata)

    async def _stream(self, headers: dict[str, str]) -> None:
        stream = self.application.streams.get("zoo")
        await stream.publish([{"probabilities": ROW}], headers)
        await stream.drained()

    async def _job(self, headers: dict[str, str]) -> None:
        table, answers = self.folder / "rows.jsonl", self.folder / "answers.jsonl"
        table.write_text(json.dumps({"probabilities": ROW}) + "\n")
        await self.application.jobs.run(Order(Asked("animals"), str(table), str(answers)))

    def numbers(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What /metrics shows, by name and labels."""
        text = exposition(self.application).render().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@asynccontextmanager
async def opened(folder: Path, collector: Collector, share: float = 0) -> AsyncIterator[House]:
    for place, text in {
        "config/main.yaml": MAIN % (collector.url, share),
        "config/pipelines/animals.yaml": PIPELINE,
        "config/streams/zoo.yaml": "{pipeline: animals, window: {max_events: 1, max_ms: 10}}",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    async with assembly.open_application(folder / "config" / "main.yaml") as application:
        application.streams.start(application.deployments.streams)
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        http, by_grpc = loop.create_future(), loop.create_future()
        inference, deployments = application.inference, application.deployments
        api = replace(application.settings.api, port=0)
        app = create_app(inference, deployments, api)
        doors = [
            asyncio.create_task(serve_http(app, api, stop, http.set_result)),
            asyncio.create_task(serve_grpc(inference, deployments, api, stop, by_grpc.set_result, port=0)),
        ]
        try:
            url, address = await asyncio.wait_for(asyncio.gather(http, by_grpc), 10)
            yield House(application, url, address, folder, collector)
        finally:
            stop.set()
            await asyncio.gather(*doors)


@pytest.mark.parametrize(("door", "mode"), DOORS.items())
async def test_every_number_is_there_for_every_door(tmp_path: Path, door: str, mode: str) -> None:
    with collecting() as collector:
        async with opened(tmp_path, collector) as house:
            before = house.numbers()
            await house.ask(door)
            after = house.numbers()

    def more(name: str, **labels: str) -> float:
        key = name, frozenset({"pipeline": "animals", "version": "1", **labels}.items())
        return after.get(key, 0.0) - before.get(key, 0.0)

    whole = {"mode": mode, "door": door, "code": "ok"}
    assert more("headrace_requests_total", **whole) == 1
    assert more("headrace_request_seconds_count", **whole) == 1
    assert more("headrace_request_seconds_sum", **whole) > 0
    for phase in PHASES:
        assert more("headrace_phase_seconds_count", mode=mode, phase=phase) == 1, phase
        assert more("headrace_phase_seconds_bucket", mode=mode, phase=phase, le="+Inf") == 1
    assert more("headrace_batch_size_sum", mode=mode) == more("headrace_batch_size_count", mode=mode) == 1
    assert more("headrace_confidence_sum", mode=mode) == 0.75
    assert more("headrace_cost_total", mode=mode, currency="EUR") > 0
    for gauge in ("headrace_queue_depth", "headrace_in_flight", "headrace_model_memory_bytes"):
        assert (gauge, frozenset({"pipeline": "animals", "version": "1"}.items())) in after
    if mode == "request":
        assert more("headrace_cache_total", state="bypass") == 1


@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_a_request_that_is_refused_is_counted_with_its_code(tmp_path: Path, door: str) -> None:
    with collecting() as collector:
        async with opened(tmp_path, collector) as house:
            if door == "http":
                async with httpx2.AsyncClient() as client:
                    await client.post(f"{house.url}/api/v1/models/nobody/predict", json={"inputs": {}})
            else:
                async with grpc.aio.insecure_channel(house.address) as channel:
                    ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
                    with pytest.raises(grpc.aio.AioRpcError):
                        await ask(messages.ModelInferRequest(model_name="nobody").SerializeToString(), timeout=10)
            found = house.numbers()

    labels = {"pipeline": "", "version": "", "mode": "request", "door": door, "code": "not_found"}
    assert found["headrace_requests_total", frozenset(labels.items())] == 1


@pytest.mark.parametrize("door", ["http", "grpc", "stream"])
async def test_a_callers_trace_goes_on_through_every_door(tmp_path: Path, door: str) -> None:
    with collecting() as collector:
        async with opened(tmp_path, collector) as house:
            await house.ask(door)
            await house.ask(door, CALLER[:-1] + "0")
            await house.ask(door, CALLER)

    spans = {span.name: span for span in collector.spans}
    assert len(collector.spans) == len(spans) == 6, list(spans)
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert PHASES | {"batch"} < set(spans)
    [root] = [span for span in collector.spans if span.parent_id == CALLER[36:52]]
    assert all(spans[name].parent_id == root.span_id for name in (*PHASES, "batch"))
    assert spans["batch"].links == [(TRACE, root.span_id)]
    assert spans["batch"].attributes["headrace.pipeline"] == "animals@1"
    assert root.kind == (5 if door == "stream" else 2)


def _children(spans: list[Received], parent: Received) -> list[Received]:
    return [span for span in spans if span.parent_id == parent.span_id]


async def test_a_job_leaves_a_trace_where_the_share_says_so(tmp_path: Path) -> None:
    with collecting() as collector:
        async with opened(tmp_path, collector, share=1) as house:
            await house.ask("job")

    [root] = [span for span in collector.spans if not span.parent_id]
    assert root.name == "infer animals" and root.attributes["headrace.door"] == "job"
    assert {span.name for span in _children(collector.spans, root)} == PHASES | {"batch"}
