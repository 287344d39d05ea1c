"""What does `import headrace` cost a user who only wants the library?"""

import json
import subprocess
import sys

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
