"""Does a type's name lead to its runtime, and does a wrong or missing one say what would work?"""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from headrace.domain.errors import InvalidConfig
from headrace.domain.model import ModelAdapter
from headrace.domain.tensors import Column
from headrace.infra.runtimes import RUNTIMES, create, load_model
from headrace.infra.runtimes.devices import Device, device_of, threads_of
from headrace.infra.runtimes.packages import framework
from headrace.infra.runtimes.ragged import by_shape


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_of_the_table_can_be_created(name: str) -> None:
    assert isinstance(create(name), ModelAdapter)


def test_an_unknown_type_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(InvalidConfig, match=r"no model type 'onxn'; did you mean 'onnx'\?; there are: onnx, python"):
        create("onxn")


def test_a_loaded_model_is_ready() -> None:
    model = load_model("echo", "", {"name": "echo"})

    assert isinstance(model, ModelAdapter)
    assert model.predict({"text": ["a"]}) == {"text": ["a"]}


def test_a_missing_package_names_what_to_install() -> None:
    with pytest.raises(
        InvalidConfig, match=r"'no_such_framework', which is not installed: pip install 'headrace\[x\]'"
    ):
        framework("no_such_framework", extra="x")


def test_the_table_imports_no_framework() -> None:
    code = """
import sys
from headrace.infra.runtimes import RUNTIMES, create
for name in RUNTIMES:
    create(name)
print("onnxruntime" in sys.modules)
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "False"


def test_devices_are_read_strictly() -> None:
    assert device_of({}) == Device("auto")
    assert device_of({"device": "cuda:2", "device_required": True}) == Device("cuda", 2, True)
    for wrong in ("gpu", "cuda:", "cuda:x", "CPU"):
        with pytest.raises(InvalidConfig, match=f"no device '{wrong}'"):
            device_of({"device": wrong})


def test_automatic_threads_are_one() -> None:
    assert threads_of({}) == threads_of({"threads": "auto"}) == 1
    assert threads_of({"threads": 4}) == 4
    for wrong in (0, -1, True, "many", 1.5):
        with pytest.raises(InvalidConfig, match="threads wants auto or an integer"):
            threads_of({"threads": wrong})


def test_rows_are_grouped_by_shape_and_put_back() -> None:
    sizes: list[int] = []

    def count(inputs: Mapping[str, Column]) -> dict[str, Column]:
        sizes.append(len(inputs["x"]))
        return {"length": np.full(len(inputs["x"]), np.shape(inputs["x"])[1]), "id": list(inputs["id"])}

    rows = [np.zeros(2), np.zeros(1), np.zeros(2), np.zeros(3)]

    answer = by_shape(count, {"x": rows, "id": np.arange(4)})

    assert answer["length"].tolist() == [2, 1, 2, 3]
    assert list(answer["id"]) == [0, 1, 2, 3]
    assert sizes == [2, 1, 1]
