"""What does `import headrace` cost a user who only wants the library?"""

import json
import subprocess
import sys
from pathlib import Path

LIMIT_S = 0.5
ATTEMPTS = 5
# The contract names frameworks and web frameworks; the rest are what they would drag in.
UNWANTED = {
    "fastapi",
    "onnxruntime",
    "pydantic",
    "sklearn",
    "starlette",
    "tensorflow",
    "torch",
    "transformers",
    "uvicorn",
}
PROBE = """
import json, sys, time
started = time.perf_counter()
import headrace
elapsed = time.perf_counter() - started
print(json.dumps({"elapsed": elapsed, "modules": sorted(sys.modules)}))
"""


def probe() -> tuple[float, set[str]]:
    """The seconds that the import took in a fresh process, and the top-level modules present after it."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    return answer["elapsed"], {name.partition(".")[0] for name in answer["modules"]}


def test_import_takes_less_than_half_a_second() -> None:
    # The best of several: other load on the machine only ever adds time.
    assert min(probe()[0] for _ in range(ATTEMPTS)) < LIMIT_S


def test_import_brings_no_framework() -> None:
    _, modules = probe()

    assert not modules & UNWANTED


SERVED = """
import asyncio, json, sys, urllib.request
from pathlib import Path
from headrace.serving import open_server

def ask(url):
    body = json.dumps({"pipeline": "echo", "inputs": {"x": 1}}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/inference", body, headers)).read()
    urllib.request.urlopen(f"{url}/api/v1/models").read()

async def serve():
    async with open_server(Path(sys.argv[1])) as (application, url):
        await asyncio.to_thread(ask, url)

asyncio.run(serve())
print(json.dumps(sorted(sys.modules)))
"""


def test_a_server_that_remembers_nothing_imports_no_database(tmp_path: Path) -> None:
    main = tmp_path / "config" / "main.yaml"
    (main.parent / "models").mkdir(parents=True)
    main.write_text("")
    (main.parent / "models" / "echo.yaml").write_text(
        "type: echo\ninput_spec: [{name: x, dtype: int64, shape: [-1]}]\n"
    )

    done = subprocess.run([sys.executable, "-c", SERVED, main], capture_output=True, text=True, check=True, timeout=60)

    modules = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not modules & {"aiosqlite", "alembic", "asyncmy", "asyncpg", "sqlalchemy"}
