"""Which objects of a user's own code are models, and what is said about those that are not?"""

import inspect
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from headrace.domain.errors import Internal, InvalidConfig, ModelFailure
from headrace.domain.model import Model, ModelAdapter, RemoteModel
from headrace.domain.tensors import TensorSpec
from headrace.infra.runtimes import load_model
from headrace.infra.runtimes.python import PythonModel
from headrace.infra.runtimes.workspace_code import load_object, source_file

X = [{"name": "x", "shape": [-1], "dtype": "float64"}]
Y = [{"name": "y", "shape": [-1], "dtype": "float64"}]


class Workspace:
    """A folder with one file, models/net.py."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "models").mkdir()

    def write(self, source: str, name: str = "net") -> None:
        (self.root / "models" / f"{name}.py").write_text(dedent(source))

    def load(self, path: str = "models/net.py:net", **config: Any) -> Model:
        given = {"name": "net", "path": path, "root": str(self.root), "input_spec": X, "output_spec": Y, **config}
        return load_model("python", path, given)

    def run(self, path: str = "models/net.py:net", **config: Any) -> Any:
        model = self.load(path, **config)
        assert isinstance(model, ModelAdapter)
        return model.predict({"x": np.array([1.0, 2.0])})

    def refusal(self, path: str = "models/net.py:net", **config: Any) -> str:
        with pytest.raises(InvalidConfig) as caught:
            self.load(path, **config)
        assert caught.value.message.startswith(f"model 'net' ({path})")
        assert str(self.root) not in caught.value.message
        return caught.value.message


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "def net(x): return {'y': 2 * x}",
        "def net(inputs): return {'y': 2 * inputs['x']}",
        "def net(columns, *, factor=2): return {'y': factor * columns['x']}",
        "def net(**columns): return {'y': 2 * columns['x']}",
        "def net(x): return 2 * x",
        "net = lambda x: 2 * x",
        "def net():\n    return lambda x: 2 * x",
        "class net:\n    def predict(self, x): return {'y': 2 * x}",
        "class Net:\n    def predict(self, inputs): return {'y': 2 * inputs['x']}\nnet = Net()",
        "class Net:\n    def __call__(self, x): return 2 * x\nnet = Net()",
        "class Net:\n    @staticmethod\n    def double(x): return 2 * x\nnet = Net.double",
    ],
)
def test_functions_classes_and_objects_are_models(workspace: Workspace, source: str) -> None:
    workspace.write(source)

    assert workspace.run()["y"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    "source",
    [
        "def net(x, *, factor): return factor * x",
        "def net(*, factor):\n    return lambda x: factor * x",
        "class net:\n    def __init__(self, factor): self.factor = factor\n"
        "    def predict(self, x): return self.factor * x",
        "class net:\n    def __init__(self, **given): self.given = given\n"
        "    def predict(self, x): return self.given['factor'] * x",
    ],
)
def test_options_are_keyword_arguments(workspace: Workspace, source: str) -> None:
    workspace.write(source)

    assert workspace.run(options={"factor": 3.0})["y"].tolist() == [3.0, 6.0]


@pytest.mark.parametrize(
    "source",
    [
        "def net(x, *, factor=1): return factor * x",
        "class net:\n    def __init__(self, factor=1): pass\n    def predict(self, x): return x",
    ],
)
def test_an_unknown_option_is_an_error_with_the_nearest_one(workspace: Workspace, source: str) -> None:
    workspace.write(source)

    assert "takes no 'facter'; did you mean 'factor'?" in workspace.refusal(options={"facter": 2})


def test_a_missing_option_is_an_error(workspace: Workspace) -> None:
    workspace.write("class net:\n    def __init__(self, factor): ...\n    def predict(self, x): return x")

    assert "missing a required argument: 'factor'" in workspace.refusal()


def test_an_object_takes_no_options(workspace: Workspace) -> None:
    workspace.write("class Net:\n    def predict(self, x): return x\nnet = Net()")

    assert "name its class instead" in workspace.refusal(options={"factor": 2})


ADAPTER = """
    import numpy as np
    from headrace.domain.model import ModelAdapter
    from headrace.domain.tensors import TensorSpec

    class net(ModelAdapter):
        concurrent = True
        def __init__(self, *, factor=2.0): self.factor = factor
        def load(self, model_path, config): self.seen = (model_path, config["name"])
        def predict(self, inputs): return {"y": self.factor * inputs["x"]}
        def get_input_spec(self): return {"x": TensorSpec("float64", (-1,), "x")}
        def get_output_spec(self): return {"y": TensorSpec("float64", (-1,), "y")}
"""


def test_an_adapter_is_loaded_with_the_workspace_and_served_as_itself(workspace: Workspace) -> None:
    workspace.write(ADAPTER)

    model: Any = workspace.load(options={"factor": 3.0}, input_spec=None, output_spec=None)

    assert type(model).__name__ == "net"
    assert model.concurrent
    assert model.seen == (str(workspace.root), "net")
    assert model.predict({"x": np.ones(1)})["y"].tolist() == [3.0]


def test_an_adapter_that_lacks_a_method_is_an_error(workspace: Workspace) -> None:
    workspace.write(ADAPTER.replace("def predict", "def forecast"))

    assert "class 'net' lacks predict" in workspace.refusal()


def test_an_adapter_whose_specs_are_none_is_an_error(workspace: Workspace) -> None:
    workspace.write(ADAPTER.replace('return {"y": TensorSpec("float64", (-1,), "y")}', 'return {"y": "float64"}'))

    assert "get_output_spec() of 'net' wants to return a mapping of names to TensorSpec" in workspace.refusal()


def test_a_class_may_have_more_than_predict(workspace: Workspace) -> None:
    workspace.write("""
        class net:
            concurrent = True
            log = []
            def load(self, model_path, config): self.log.append(config["name"])
            def predict(self, x): return x
            def get_input_spec(self): return {"x": {"dtype": "float64", "shape": [-1, 2]}}
            def get_output_spec(self): return {"y": {"dtype": "float64"}}
            def close(self): self.log.append("closed")
            def describe(self): return {"log": list(self.log)}
        """)

    model: Any = workspace.load(input_spec=None, output_spec=None)
    model.close()

    assert model.get_input_spec() == {"x": TensorSpec("float64", (-1, 2), "x")}
    assert model.get_output_spec() == {"y": TensorSpec("float64", (-1,), "y")}
    assert model.concurrent
    assert not model.pure
    assert model.describe() == {"platform": "python", "log": ["net", "closed"]}


def test_inputs_come_from_the_parameters_where_nothing_states_them(workspace: Workspace) -> None:
    workspace.write("def net(x, shift=1.0): return x")

    model = workspace.load(input_spec=None)

    assert model.get_input_spec() == {
        "x": TensorSpec("any", None, "x"),
        "shift": TensorSpec("any", None, "shift", 1.0, True),
    }


async def test_a_coroutine_is_awaited(workspace: Workspace) -> None:
    workspace.write("async def net(x): return 2 * x")

    model = workspace.load()

    assert isinstance(model, RemoteModel)
    assert (await model.predict({"x": np.ones(2)}, None))["y"] == pytest.approx([2.0, 2.0])


def test_a_coroutine_is_never_run_without_its_loop(workspace: Workspace) -> None:
    workspace.write("async def net(x): return 2 * x")
    model = PythonModel()
    model.load("models/net.py:net", {"root": str(workspace.root), "input_spec": X, "output_spec": Y})

    with pytest.raises(Internal, match="is awaited"):
        model.predict({"x": np.ones(2)})


def test_what_is_no_column_is_the_models_failure(workspace: Workspace) -> None:
    workspace.write("def net(x): return 'ok'")

    with pytest.raises(ModelFailure, match="returned a str; it wants to return a mapping of columns"):
        workspace.run()


@pytest.mark.parametrize(
    ("source", "path", "config", "found"),
    [
        ("x = 1", "models/net.py:net", {}, "'models/net.py' has no 'net'"),
        ("def nets(x): ...", "models/net.py:net", {}, "did you mean 'nets'?"),
        ("net = 5", "models/net.py:net", {}, "'net' is a int; a model is a function, or has a predict()"),
        ("def net(x): return x", "models/net.py", {}, "names no object; write package.module:object"),
        ("def net(x): return x", "models/nett.py:net", {}, "there is no file 'models/nett.py' in the workspace"),
        ("", "models.nett:net", {}, "there is no models/nett.py in the workspace, nor an installed module 'models'"),
        ("def net(x)", "models/net.py:net", {}, "'models/net.py' is not valid Python: expected ':', line 1"),
        ("import nothing_here", "models/net.py:net", {}, "ModuleNotFoundError: No module named 'nothing_here'"),
        ("raise SystemExit(3)", "models/net.py:net", {}, "cannot be imported: SystemExit: 3"),
        ("def net(): return net", "models/net.py:net", {}, "returns another factory"),
        ("def net(): 1 / 0", "models/net.py:net", {}, "cannot be loaded: ZeroDivisionError"),
        (
            "def net(x): return x",
            "models/net.py:net",
            {"output_spec": None},
            "which outputs 'net' has: state output_spec",
        ),
        ("def net(**c): return c", "models/net.py:net", {"input_spec": []}, ""),
        ("def net(x, z): return x", "models/net.py:net", {}, "'net' wants 'z', which input_spec does not name"),
        ("def net(a, b=1): return a", "models/net.py:net", {}, "input_spec names 'x', which 'net' does not take"),
    ],
)
def test_what_cannot_be_a_model_is_refused_in_plain_words(
    workspace: Workspace, source: str, path: str, config: dict[str, Any], found: str
) -> None:
    workspace.write(source)
    if not found:
        workspace.load(path, **config)
        return

    assert found in workspace.refusal(path, **config)


def test_a_module_of_the_workspace_may_be_written_with_dots(workspace: Workspace) -> None:
    workspace.write("def net(x): return x")

    assert workspace.run("models.net:net")["y"].tolist() == [1.0, 2.0]
    assert source_file("models.net:net", workspace.root) == workspace.root / "models" / "net.py"


def test_an_installed_module_is_imported_as_usual() -> None:
    assert load_object("inspect:signature", None) is inspect.signature
    assert source_file("inspect:signature", None) is None


def test_an_edited_file_is_read_afresh_and_the_old_model_stays(workspace: Workspace) -> None:
    workspace.write("def net(x): return 1 * x")
    before: Any = workspace.load()
    workspace.write("def net(x): return 2 * x")

    after: Any = workspace.load()

    assert before.predict({"x": np.ones(1)})["y"].tolist() == [1.0]
    assert after.predict({"x": np.ones(1)})["y"].tolist() == [2.0]


def test_neighbours_import_each_other_and_the_import_path_is_not_touched(workspace: Workspace) -> None:
    path = list(sys.path)
    workspace.write("FACTOR = 2", name="_factors")
    workspace.write("""
        from dataclasses import dataclass
        from ._factors import FACTOR

        @dataclass
        class net:
            factor: float = FACTOR
            def predict(self, x): return self.factor * x
        """)

    assert workspace.run()["y"].tolist() == [2.0, 4.0]
    assert sys.path == path
    assert "_factors" not in sys.modules


def test_a_file_that_raises_leaves_no_module_behind(workspace: Workspace) -> None:
    before = set(sys.modules)
    workspace.write("1 / 0")

    workspace.refusal()

    assert not [name for name in set(sys.modules) - before if name.startswith("_headrace_models")]
