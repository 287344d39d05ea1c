"""Do the pages about streams, hooks and middleware work as they stand there, on a server like anybody's?"""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from headrace import assembly

from .servers import Server, serving
from .test_how_to import BLOCK, ROOT, workspace_of

PLUG_IN = ROOT / "tests" / "end_to_end" / "plugin_package" / "src"


def served(page: str, folder: Path) -> Any:
    main = workspace_of(page, folder)
    assert assembly.check(main).mistakes == ()
    return serving(folder)


def post(server: Server, path: str, body: Any) -> Any:
    return httpx2.post(f"{server.url}/api/v1/{path}", json=body, timeout=10)


@pytest.mark.slow
def test_the_stream_of_the_page_answers_each_event(tmp_path: Path) -> None:
    with served("use-a-stream.md", tmp_path) as server:
        accepted = post(server, "streams/visits/events", [{"age": 40}, {"age": 60, "visits": 3}])
        with connect(f"ws://127.0.0.1:{server.port}/api/v1/streams/visits/ws", open_timeout=10) as socket:
            socket.send(json.dumps({"id": "a", "age": 40}))
            socket.send(json.dumps({"id": "b", "age": "old"}))
            answers = [json.loads(socket.recv(10)) for _ in range(2)]
        status = httpx2.get(f"{server.url}/api/v1/streams/visits").json()["data"]
        metrics = httpx2.get(f"{server.url}/metrics").text
        code = server.stop()

    told = {answer["id"]: answer for answer in answers}
    assert (accepted.status_code, accepted.json()["data"]) == (202, {"stream": "visits", "accepted": 2})
    assert told["a"]["outputs"]["risk"] == pytest.approx(0.8)
    assert told["b"]["error"] == {
        "code": "invalid_input",
        "message": "column 'age' wants float32, not the string 'old'",
    }
    assert (status["state"], status["lag"], status["progress"]["answered"]) == ("running", 0, 3)
    assert 'headrace_stream_events_total{outcome="dead_letter",stream="visits"} 1.0' in metrics
    assert 'mode="stream"' in metrics
    assert code == 0
    assert "Traceback" not in server.log.read_text()


async def test_what_a_stream_has_taken_in_is_finished_before_the_end(tmp_path: Path) -> None:
    main = workspace_of("use-a-stream.md", tmp_path)
    (tmp_path / "config" / "streams" / "visits.yaml").write_text("{pipeline: risk, window: {max_ms: 60000}}")
    settings, root = assembly.load_settings(main)
    application = assembly.assemble(settings, assembly.workspace_files(settings, root, main))
    await application.start()
    application.streams.start(application.deployments.streams)
    stream = application.streams.get("visits")
    await stream.publish([{"age": number} for number in range(1000)])

    cut = await application.close(10)

    assert (cut, stream.progress.answered, stream.lag) == (0, 1000, 0)


@pytest.mark.slow
def test_the_hook_and_the_middleware_of_the_page_take_part(tmp_path: Path) -> None:
    (tmp_path / "config" / "pipelines").mkdir(parents=True)
    (tmp_path / "config" / "pipelines" / "same.yaml").write_text(
        "model: {name: m, type: echo, input_spec: [{name: x, dtype: float32}]}"
    )
    (tmp_path / "broken.py").write_text(
        "class Broken:\n    def after_batch(self, ref, size, seconds):\n        1 / 0\n"
    )

    with served("use-hooks-and-middleware.md", tmp_path) as server:
        fine = post(server, "models/same/predict", {"inputs": {"x": 1}})
        wrong = post(server, "models/same/predict", {"inputs": {"x": "one"}})
        code = server.stop()
        log = server.log.read_text()
    (tmp_path / "config" / "main.yaml").write_text("hooks: [broken:Broken]")
    with serving(tmp_path) as second:
        still_fine = [post(second, "models/same/predict", {"inputs": {"x": 1}}).status_code for _ in range(3)]
        with httpx2.Client() as client:
            while "headrace_hook_failures_total{" not in (metrics := client.get(f"{second.url}/metrics").text):
                pass

    assert (fine.status_code, wrong.status_code, code) == (200, 422, 0)
    assert fine.headers["server-timing"].startswith("total;dur=")
    assert "same@1: invalid_input column 'x' wants float32" in log
    assert still_fine == [200] * 3
    assert 'event="after_batch",hook="broken:Broken"' in metrics


def test_the_plug_in_of_the_page_is_the_one_that_is_tested() -> None:
    page = (ROOT / "docs" / "how-to" / "write-a-plug-in.md").read_text()
    [block] = [block for block in BLOCK.finditer(page) if block["file"].startswith("src/")]
    tested = (PLUG_IN.parent / block["file"]).read_text().splitlines()

    lines = block["body"].splitlines()[1:]

    assert [line for line in lines if line not in tested] == []
