"""Does a separately installed package's step serve, with its parameters and columns checked like the built-ins'?"""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from .servers import serving

PACKAGE = Path(__file__).parent / "plugin_package"
PIPELINE = """
preprocessing:
  - {name: words.longest}
  - {name: words.count, params: {at_least: 3}}
model: {name: counter, type: echo, input_spec: [{name: words, dtype: float32, shape: [-1]}]}
outputs: [words, longest]
"""
MISTAKEN = """
preprocessing:
  - {name: words.cont}
  - {name: words.count, params: {at_most: 3}}
  - {name: words.count, params: {at_least: many}}
model: {name: counter, type: echo, input_spec: [{name: words, dtype: float32, shape: [-1]}]}
"""
MISNAMED = """
preprocessing:
  - {name: words.count, columns: {txt: text}}
model: {name: counter, type: echo, input_spec: [{name: words, dtype: float32, shape: [-1]}]}
"""
UNFITTING = """
preprocessing:
  - {name: words.count}
model: {name: pairs, type: echo, input_spec: [{name: words, dtype: float32, shape: [-1, 2]}]}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plug-in, built and installed into a folder of its own, without a network."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--no-compile", "--target", str(folder), str(PACKAGE)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def workspace(folder: Path, pipeline: str) -> Path:
    (folder / "config" / "pipelines").mkdir(parents=True)
    (folder / "config" / "main.yaml").write_text("")
    (folder / "config" / "pipelines" / "words.yaml").write_text(pipeline)
    return folder


def headrace(folder: Path, site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_the_steps_of_an_installed_package_are_served(installed: Path, tmp_path: Path) -> None:
    folder = workspace(tmp_path, PIPELINE)

    with serving(folder, {"PYTHONPATH": str(installed)}) as server:
        rows = [{"text": "to be or not to be"}, {"text": ""}, {"text": "headraces bring water to wheels"}]
        answer = httpx2.post(f"{server.url}/api/v1/models/words/predict", json={"inputs": rows}).json()
        wrong = httpx2.post(f"{server.url}/api/v1/models/words/predict", json={"inputs": {"text": 3}}).json()
        code = server.stop()

    outputs = answer["data"]["outputs"]
    assert outputs[0] == {"words": 1.0, "longest": 3}
    assert outputs[1]["error"]["code"] == "invalid_input"
    assert outputs[2] == {"words": 4.0, "longest": 9}
    assert wrong["error"]["code"] == "invalid_input"
    assert code == 0


def test_its_name_and_parameters_are_checked_like_the_built_ins(installed: Path, tmp_path: Path) -> None:
    done = headrace(workspace(tmp_path, MISTAKEN), installed, "check")

    told = done.stdout + done.stderr
    assert done.returncode == 2
    assert "config/pipelines/words.yaml:3" in told
    assert "words.count" in told.splitlines()[0]
    assert "config/pipelines/words.yaml:4" in told
    assert "'at_most'" in told
    assert "config/pipelines/words.yaml:5" in told
    assert "integer" in told


def test_its_columns_are_checked_like_the_built_ins(installed: Path, tmp_path: Path) -> None:
    folder = workspace(tmp_path, MISNAMED)
    (folder / "config" / "pipelines" / "pairs.yaml").write_text(UNFITTING)

    done = headrace(folder, installed, "check")

    told = done.stdout + done.stderr
    assert done.returncode == 2
    assert "config/pipelines/words.yaml:3: preprocessing[0].columns.txt: " in told
    assert "did you mean 'text'?" in told
    assert "config/pipelines/pairs.yaml:4: model: " in told
    assert "Traceback" not in told


def test_without_the_package_its_steps_are_unknown(tmp_path: Path) -> None:
    done = headrace(workspace(tmp_path, PIPELINE), tmp_path, "check")

    assert done.returncode == 2
    assert "no step 'words.count'" in done.stdout + done.stderr
