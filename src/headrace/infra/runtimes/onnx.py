"""How does an ONNX file become a model? Through ONNX Runtime, on the device and with the threads that its file names.

Memory: the arena stays on (without it, every call asks the system for its intermediate tensors), memory patterns are
off (they keep a plan for every batch size ever seen and were not faster). An MLP of 23 MB run with 600 batches of 1 to
64 rows grew by 11 MB with either setting of the arena and by up to 21 MB with patterns and no arena; for small models
there was no difference. Weights of 4 MB and more are put into huge pages.

Threads inside a call sleep instead of spinning: the cores are shared with the server. They run at a lower priority
(`modest_threads`). A call that runs beside others gets one thread, where the model is small enough for a second session
(`onnx_beside`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from headrace.core.processors import threads_of_library
from headrace.domain.errors import EngineError, InvalidConfig, NotReady
from headrace.domain.model import ModelAdapter
from headrace.domain.parameters import check, signature
from headrace.domain.tensors import Column, TensorSpec
from headrace.infra.runtimes.columns import agreed, declared, model_name
from headrace.infra.runtimes.devices import Device, device_of, threads_of
from headrace.infra.runtimes.huge_pages import huge_pages
from headrace.infra.runtimes.modest_threads import with_modest_threads
from headrace.infra.runtimes.onnx_beside import SecondSession, worth_two
from headrace.infra.runtimes.onnx_errors import Axes, cleaned, run_failure
from headrace.infra.runtimes.onnx_file import OnnxFile, read_outline
from headrace.infra.runtimes.packages import framework
from headrace.infra.runtimes.ragged import by_shape

DTYPES: Final[Mapping[str, str]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""ONNX Runtime's name of a type to ours; what is not here has no NumPy column."""

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
LEVELS: Final = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
                 "none": "ORT_DISABLE_ALL"}  # fmt: skip

MOST_THREADS: Final = 8
"""Threads that a session gets unasked: what more of them do for calls of milliseconds is little."""

Level = Literal["all", "extended", "basic", "none"]
Run = Callable[[list[str], Mapping[str, Column]], list[Any]]

log = logging.getLogger(__name__)


class OnnxModel(ModelAdapter):
    """An ONNX file in an inference session.

    The path is a file, or a folder that holds ``model.onnx`` or a single ``*.onnx``. The specs are the artefact's,
    symbolic axes as -1; ``input_spec`` and ``output_spec`` may narrow them, and ``output_spec`` may choose among the
    outputs. Columns of strings are lists, or object arrays of str where a row holds several. The option
    ``graph_optimization`` is ``all``, ``extended``, ``basic`` or ``none``.
    """

    concurrent = True
    pure = True

    def __init__(self) -> None:
        self._session: Any = None
        self._second: SecondSession | None = None
        self._run: Run = _closed
        self._errors: tuple[type[Exception], ...] = ()
        self._inputs: dict[str, TensorSpec] = {}
        self._outputs: dict[str, TensorSpec] = {}
        self._axes: dict[str, Axes] = {}
        self._names: list[str] = []
        self._flat_texts: list[str] = []
        self._outline = OnnxFile()
        self._warnings: list[str] = []

    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Make the session. Raises InvalidConfig, which shows the path as configured and no other."""
        shown = str(config.get("path") or Path(model_path).name)
        try:
            file = _file(Path(model_path))
            self._outline = read_outline(file) or OnnxFile()
            _check_external(file, self._outline)
            self._open(file, config, shown)
            self._read_specs(config)
        except EngineError as error:
            self.close()
            raise type(error)(f"{model_name(config)} ({shown}): {error.message}") from error
        for warning in self._warnings:
            log.warning("%s: %s", model_name(config), warning)

    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Run the session once (once for each shape, when rows differ in shape)."""
        return self._through(self._run, inputs)

    def predict_beside(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """The same with one thread, if there is a session for that."""
        session = None if self._second is None else self._second.session()
        return self._through(self._run if session is None else session.run, inputs)

    def _through(self, run: Run, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        for column in inputs.values():
            if type(column) is not np.ndarray:
                columns = {name: self._array(name, value) for name, value in inputs.items()}
                return by_shape(partial(self._call, run), columns)
        return self._call(run, inputs)

    def _call(self, run: Run, inputs: Mapping[str, Column]) -> dict[str, Column]:
        try:
            results = run(self._names, inputs)
        except self._errors as error:
            raise run_failure(error, inputs, self._inputs, self._axes) from error
        answer = dict(zip(self._names, results, strict=True))
        for name in self._flat_texts:
            answer[name] = answer[name].tolist()
        return answer

    def _array(self, name: str, value: Column) -> Column:
        """What the session can take: lists of strings and scalars as arrays; rows of differing shapes as they are."""
        if isinstance(value, np.ndarray):
            return value
        spec = self._inputs.get(name)
        if spec is not None and spec.dtype == "string":
            return np.array(value, dtype=object)
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            alike = all(row.shape == value[0].shape for row in value)
            return np.stack(value) if alike else value
        return np.asarray(value, dtype=spec.dtype if spec is not None else None)

    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The inputs of the artefact, narrowed by ``input_spec``."""
        return self._inputs

    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The outputs of the artefact, narrowed and chosen by ``output_spec``."""
        return self._outputs

    def close(self) -> None:
        """Drop the session; a `predict` afterwards raises NotReady."""
        if self._second is not None:
            self._second.close()
            self._second = None
        self._run = _closed
        self._session = None

    def memory_bytes(self) -> int:
        """What loading took, and what a second session takes."""
        return self.loaded_bytes + (0 if self._second is None else self._second.memory_bytes)

    def describe(self) -> Mapping[str, Any]:
        """Platform, execution providers, opset by domain, producer and warnings."""
        return {
            "platform": "onnx_onnxv1",
            "providers": list(self._session.get_providers()) if self._session is not None else [],
            "opset": dict(self._outline.opsets),
            "ir_version": self._outline.ir_version,
            "producer": self._outline.producer,
            "warnings": list(self._warnings),
        }

    def _open(self, file: Path, config: Mapping[str, Any], shown: str) -> None:
        runtime = framework("onnxruntime")
        states = vars(framework("onnxruntime.capi.onnxruntime_pybind11_state")).values()
        own = [kind for kind in states if isinstance(kind, type) and issubclass(kind, Exception)]
        self._errors = (*own, RuntimeError, ValueError, TypeError)
        threads = threads_of(config, min(threads_of_library(), MOST_THREADS))
        options = _session_options(runtime, config, threads)
        device = device_of(config)
        try:
            self._session = self._on_device(runtime, file, options, device)
        except self._errors as error:
            raise InvalidConfig(f"ONNX Runtime cannot load it: {cleaned(error, file, shown)}") from error
        self._session.disable_fallback()
        self._run = self._session.run
        chosen = config.get("threads", "auto") == "auto" and self.device == "cpu"
        if chosen and worth_two(file, threads=threads, external=bool(self._outline.external)):
            one = _session_options(runtime, config, 1)
            self._second = SecondSession(file, partial(_on_cpu, runtime, file, self._outline, one))

    def _on_device(self, runtime: Any, file: Path, options: Any, device: Device) -> Any:
        """A session on the GPU that was asked for, or on the CPU with the reason in the warnings."""
        why = ""
        if device.wants_gpu:
            why = "this ONNX Runtime is built without CUDA; pip install onnxruntime-gpu"
            if CUDA in runtime.get_available_providers():
                session = _on_gpu(runtime, file, options, device.index)
                if session is not None:
                    self.device = f"cuda:{device.index}"
                    return session
                why = "CUDA found no usable GPU"
        if warning := device.settle_for_cpu(why):
            self._warnings.append(warning)
        return _on_cpu(runtime, file, self._outline, options)

    def _read_specs(self, config: Mapping[str, Any]) -> None:
        stated = declared(config, "output_spec")
        chosen = [node for node in self._session.get_outputs() if stated is None or node.name in stated]
        outputs = {node.name: _spec(node, self._outline, "output") for node in chosen}
        inputs = {node.name: _spec(node, self._outline, "input") for node in self._session.get_inputs()}
        self._axes = {node.name: node.shape for node in self._session.get_inputs()}
        self._inputs = agreed(declared(config, "input_spec"), inputs, "input_spec")
        self._outputs = agreed(stated, outputs, "output_spec")
        self._names = list(self._outputs)
        flat = 1 if config.get("batched", True) else None
        self._flat_texts = [
            name for name, spec in self._outputs.items()
            if spec.dtype == "string" and (flat is None or spec.shape is None or len(spec.shape) == flat)
        ]  # fmt: skip


def _closed(names: list[str], inputs: Mapping[str, Column]) -> list[Any]:
    raise NotReady("the model is closed")


def _file(path: Path) -> Path:
    if path.is_dir():
        files = sorted(path.glob("*.onnx"))
        if (named := path / "model.onnx") in files:
            return named
        if len(files) == 1:
            return files[0]
        found = ", ".join(file.name for file in files) or "none"
        raise InvalidConfig(f"the folder wants a model.onnx or a single *.onnx file; there is: {found}")
    if not path.is_file():
        raise InvalidConfig("there is no such file")
    if path.stat().st_size == 0:
        raise InvalidConfig("the file is empty")
    return path


def _check_external(file: Path, outline: OnnxFile) -> None:
    missing = [name for name in outline.external if not (file.parent / name).is_file()]
    if missing:
        raise InvalidConfig(
            f"its weights lie in {', '.join(missing[:3])}, which must stand beside {file.name} and does not"
        )


def _session_options(runtime: Any, config: Mapping[str, Any], threads: int) -> Any:
    values, problems = check(signature(_level), config.get("options") or {})
    if problems:
        raise InvalidConfig("options: " + "; ".join(problem.message for problem in problems))
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, LEVELS[_level(**values)])
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # fatal: everything below is raised as well, and says more there
    return options


def _level(*, graph_optimization: Level = "all") -> str:
    return graph_optimization


def _on_cpu(runtime: Any, file: Path, outline: OnnxFile, options: Any) -> Any:
    external = (file.parent / name for name in outline.external)
    make = partial(runtime.InferenceSession, str(file), options, providers=[CPU])
    with huge_pages(sum(part.stat().st_size for part in (file, *external))):
        return with_modest_threads(make) if options.intra_op_num_threads > 1 else make()


def _on_gpu(runtime: Any, file: Path, options: Any, index: int) -> Any:
    """A session that really got the GPU, else None: ONNX Runtime falls back without an error, or raises."""
    providers = [(CUDA, {"device_id": index}), CPU]
    try:
        session = runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # CUDA's own failures have no common type; a broken file fails again on the CPU
        log.info("no session on cuda:%d: %s", index, error)
        return None
    return session if CUDA in session.get_providers() else None


def _spec(node: Any, outline: OnnxFile, side: str) -> TensorSpec:
    kind = str(node.type)
    if kind not in DTYPES:
        raise InvalidConfig(f"the {side} {node.name!r} is a {kind}, which has no column{_way_out(kind, side)}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    known = bool(shape) or node.name in outline.scalars
    return TensorSpec(DTYPES[kind], shape if known else None, node.name)


def _way_out(kind: str, side: str) -> str:
    if kind.startswith("seq(map("):
        return "; a scikit-learn classifier gives a tensor when it is converted with options={'zipmap': False}"
    if not kind.startswith("tensor("):
        return f"; export the model with tensors only{', or leave it out of output_spec' if side == 'output' else ''}"
    return "; export the model with float16 or float32 there"
