"""How fast is a table through a pipeline, beside a bare loop that does nothing else? `python -m bench.jobs`.

The table has 8 float32 columns in Parquet; the model is an MLP 8-16-16-3 in ONNX. The bare loop takes pyarrow's record
batches, puts the columns side by side, runs ONNX Runtime, and writes one Parquet file with the same settings; ours
runs a workspace through `Jobs.run`, with its checks, its error handling, fsync and rename. Each run has a process of
its own; the two take turns, and a ratio is made of each pair.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.models import HOME, TABLE_COLUMNS, tiny_table

NAMES = [f"f{number}" for number in range(TABLE_COLUMNS)]
WORKSPACE = HOME / "jobs"
PIPELINE = """\
model: tiny
preprocessing:
  - {name: tables.select, params: {columns: [f0, f1, f2, f3, f4, f5, f6, f7], into: x}}
"""


def table(rows: int) -> Path:
    """The input, made once: random numbers, in row groups of a million rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = HOME / "data" / f"table-{rows}.parquet"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    schema = pa.schema([(name, pa.float32()) for name in NAMES])
    partial = path.with_suffix(".part")
    with pq.ParquetWriter(partial, schema, use_dictionary=False) as writer:
        for start in range(0, rows, 1_000_000):
            size = min(1_000_000, rows - start)
            arrays = [random.normal(size=size).astype(np.float32) for _ in NAMES]
            writer.write_table(pa.table(arrays, schema=schema))
    partial.rename(path)
    return path


def workspace() -> Path:
    """A workspace with the model and a pipeline of one step."""
    for folder in ("config/models", "config/pipelines", "models"):
        (WORKSPACE / folder).mkdir(parents=True, exist_ok=True)
    (WORKSPACE / "config" / "main.yaml").write_text("framework: {name: bench}\n")
    (WORKSPACE / "config" / "models" / "tiny.yaml").write_text("type: onnx\npath: models/tiny.onnx\n")
    (WORKSPACE / "config" / "pipelines" / "tiny-table.yaml").write_text(PIPELINE)
    (WORKSPACE / "models" / "tiny.onnx").write_bytes(tiny_table().read_bytes())
    return WORKSPACE


def bare(source: Path, target: Path, chunk_rows: int) -> float:
    """The loop that anybody would write; returns its seconds."""
    import onnxruntime as ort
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(tiny_table()), options, providers=["CPUExecutionProvider"])
    kind = pa.list_(pa.float32(), 3)
    pa.array([1.0]).to_numpy()  # imports pandas where it is installed; that is no fault of the loop
    started = time.perf_counter()
    with pq.ParquetWriter(target, pa.schema([("y", kind)]), use_dictionary=False) as writer:
        for batch in pq.ParquetFile(source).iter_batches(chunk_rows, columns=NAMES):
            x = np.stack([column.to_numpy() for column in batch.columns], axis=1)
            y = session.run(None, {"x": x})[0]
            writer.write_batch(pa.record_batch([pa.FixedSizeListArray.from_arrays(y.ravel(), 3)], names=["y"]))
    return time.perf_counter() - started


def ours(source: Path, target: Path, chunk_rows: int) -> float:
    """The same table through the workspace; returns the seconds of the run, the loading left out as above."""
    import pyarrow.parquet  # noqa: F401 - imports are left out here as they are above

    import headrace
    from headrace.domain.routing import Asked
    from headrace.services.job_orders import Order

    async def run() -> float:
        async with headrace.load(workspace()) as application:
            started = time.perf_counter()
            order = Order(Asked("tiny-table"), str(source), str(target), chunk_rows=chunk_rows)
            done = await application.jobs.run(order)
            assert done.failed == 0
            return time.perf_counter() - started

    return asyncio.run(run())


SIDES: dict[str, Callable[[Path, Path, int], float]] = {"bare": bare, "ours": ours}


def measured(side: str, source: Path, chunk_rows: int) -> dict[str, float]:
    """One run of *side* in a process of its own: seconds, processor seconds, and the peak of its memory in MB."""
    command = [sys.executable, "-m", "bench.jobs", "--side", side, "--source", str(source)]
    told = subprocess.run([*command, "--chunk-rows", str(chunk_rows)], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return result


def one_side(side: str, source: Path, chunk_rows: int) -> None:
    """What the child process does: run, and tell."""
    target = HOME / "data" / f"{side}.parquet"
    seconds = SIDES[side](source, target, chunk_rows)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "rss_mb": used.ru_maxrss / 1024}))


def same_answers() -> bool:
    """Whether both sides have written the same numbers, in the same order."""
    import pyarrow.parquet as pq

    one, other = (
        pq.read_table(HOME / "data" / f"{side}.parquet")["y"].combine_chunks().flatten().to_numpy() for side in SIDES
    )
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-6))


def compare(rows: int, pairs: int, chunk_rows: int) -> None:
    """Take turns and print what came of it."""
    source = table(rows)
    workspace()
    results: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for number in range(pairs):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            results[side].append(measured(side, source, chunk_rows))
    ratios = [b["seconds"] / o["seconds"] for b, o in zip(results["bare"], results["ours"], strict=True)]
    print(f"{rows:,} rows, chunks of {chunk_rows:,}, {pairs} pairs, {os.cpu_count()} processors")
    for side, runs in results.items():
        rate = statistics.median(rows / run["seconds"] for run in runs) / 1e6
        rss = [run["rss_mb"] for run in runs]
        cpu = statistics.median(run["cpu_s"] for run in runs)
        print(f"  {side}: {rate:.2f} M rows/s, peak RSS {min(rss):.0f}-{max(rss):.0f} MB, {cpu:.1f} s CPU")
    print(f"  ours / bare: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"  same answers: {same_answers()}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--chunk-rows", type=int, default=65_536)
    parser.add_argument("--side", choices=list(SIDES), help="run one side alone, in this process")
    parser.add_argument("--source", type=Path)
    given = parser.parse_args()
    if given.side:
        one_side(given.side, given.source or table(given.rows), given.chunk_rows)
    else:
        compare(given.rows, given.pairs, given.chunk_rows)


if __name__ == "__main__":
    main()
