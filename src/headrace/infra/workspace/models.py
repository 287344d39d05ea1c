"""What is wrong with a declared model: its type, its artefact, its device, its columns?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from headrace.core.config import did_you_mean
from headrace.domain.spec import ColumnSpec, ModelSpec
from headrace.domain.tensors import DTYPES, TensorSpec
from headrace.infra.runtimes import RUNTIMES
from headrace.infra.workspace.artefacts import PICKLED, is_url
from headrace.infra.workspace.documents import Remarks
from headrace.infra.workspace.isolation import check_isolation
from headrace.infra.workspace.paths import exists, no_file
from headrace.infra.workspace.python_objects import why_not_found

LATER: Final = ("pytorch", "tensorflow", "huggingface", "sklearn", "openvino", "openai", "open_inference")
"""Types that a later version brings; one that stands in RUNTIMES is here already."""

NO_FILE: Final = ("echo", "openai", "open_inference")
"""Types whose `path` is no file of the workspace."""

ARTEFACTS: Final = (
    ".onnx", ".pt", ".pth", ".h5", ".keras", ".skops", ".safetensors", ".ubj", ".tflite", *PICKLED,
)  # fmt: skip
"""What the file of a trained model is called."""

_DEVICE: Final = re.compile(r"auto|cpu|cuda(:[0-9]+)?")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_NAME: Final = re.compile(r"[^\s/\\@?#%]+")

_DTYPES_ELSEWHERE: Final = {
    "float": "float32", "double": "float64", "half": "float16", "int": "int64", "long": "int64", "short": "int16",
    "byte": "uint8", "boolean": "bool", "str": "string", "text": "string", "object": "string", "utf8": "string",
    "fp16": "float16", "fp32": "float32", "fp64": "float64",
}  # fmt: skip


class ModelCheck:
    """Looks at the models of one workspace."""

    def __init__(self, root: Path, directory: Path) -> None:
        """*directory* is where models usually lie; it serves suggestions alone, since paths start at *root*."""
        self._root = root
        self._directory = directory

    def look(self, spec: ModelSpec, remarks: Remarks) -> None:
        """Say what is wrong with *spec*."""
        check_identity(spec, remarks)
        self._type(spec, remarks)
        if spec.type in (*RUNTIMES, *LATER):
            self._artefact(spec, remarks)
        self._numbers(spec, remarks)
        if _DEVICE.fullmatch(spec.device) is None:
            meant = did_you_mean(spec.device, ("cpu", "cuda", "cuda:0", "auto"))
            remarks.add(spec, "device", f"found {spec.device!r}{meant}, wanted cpu, cuda, cuda:N or auto")
        if spec.sha256 is not None and _SHA256.fullmatch(spec.sha256) is None:
            remarks.add(
                spec, "sha256", f"found {len(spec.sha256)} characters, wanted the 64 hexadecimal digits of a SHA-256"
            )
        check_isolation(spec, self._root, remarks)
        _columns(spec.input_spec, remarks.within("input_spec"))
        _columns(spec.output_spec, remarks.within("output_spec"))

    def unused(self, specs: Iterable[ModelSpec]) -> Iterator[Path]:
        """The artefacts in the models' directory that belong to no model, from the root."""
        used = [self._root / spec.path for spec in specs if spec.path and not is_url(spec.path)]
        for file in self._candidates():
            if not any(file.is_relative_to(path) or path.is_relative_to(file) for path in used):
                yield file.relative_to(self._root)

    def _type(self, spec: ModelSpec, remarks: Remarks) -> None:
        if spec.type in RUNTIMES or not spec.type:  # of a type that could not be read enough has been said
            return
        known = ", ".join(RUNTIMES)
        if spec.type in LATER:
            remarks.add(
                spec, "type", f"found {spec.type!r}, which is not available in this version, wanted one of: {known}"
            )
        else:
            meant = did_you_mean(spec.type, (*RUNTIMES, *LATER))
            remarks.add(spec, "type", f"found no model type {spec.type!r}{meant}, wanted one of: {known}")

    def _artefact(self, spec: ModelSpec, remarks: Remarks) -> None:
        if spec.type in NO_FILE:
            return
        if not spec.path:
            wanted = "module:object" if spec.type == "python" else "the model's file, from the workspace's folder"
            remarks.add(spec, "path", f"found nothing, wanted {wanted}")
        elif spec.type == "python":
            if (why := why_not_found(spec.path, self._root)) is not None:
                remarks.add(spec, "path", why)
        elif is_url(spec.path):
            remarks.add(spec, "path", "found a URL, wanted a file: object stores are not available in this version")
        else:
            self._file(spec, remarks)

    def _file(self, spec: ModelSpec, remarks: Remarks) -> None:
        path = self._root / spec.path
        if not exists(path):
            direct = self._directory / spec.path
            remarks.add(
                spec, "path", no_file(self._root, spec.path, [direct] if exists(direct) else self._candidates())
            )
        elif path.suffix.lower() in PICKLED and not spec.trust:
            remarks.add(
                spec,
                "path",
                f"found a {path.suffix} file, which can run any code when it is read; if you trust who made it, "
                f"say so with trust: true",
            )

    def _candidates(self) -> list[Path]:
        if not self._directory.is_dir() or not self._directory.is_relative_to(self._root):
            return []
        return sorted(file for file in self._directory.rglob("*") if file.suffix.lower() in ARTEFACTS)

    @staticmethod
    def _numbers(spec: ModelSpec, remarks: Remarks) -> None:
        for key, value in (("threads", spec.threads), ("instances", spec.instances)):
            if value != "auto" and value < 1:
                remarks.add(spec, key, f"found {value}, wanted auto or an integer of at least 1")


def check_identity(spec: object, remarks: Remarks) -> None:
    """Names and versions stand in URLs and in NAME@VERSION, so some characters cannot be in them."""
    for key in ("name", "version"):
        value = getattr(spec, key, "1")
        if _NAME.fullmatch(value) is None:
            found = repr(value) if value else "nothing"
            remarks.add(spec, key, f"found {found}, wanted text without spaces and without / \\ @ ? # %")


def _columns(specs: Sequence[ColumnSpec] | None, remarks: Remarks) -> None:
    seen: set[str] = set()
    for index, spec in enumerate(specs or ()):
        here = remarks.within(index)
        if not spec.name or spec.name in seen:
            here.add(
                spec, "name", f"found the column {spec.name!r} again" if spec.name else "found nothing, wanted a name"
            )
        seen.add(spec.name)
        if spec.dtype not in DTYPES:
            here.add(
                spec, "dtype", f"found no dtype {spec.dtype!r}{_meant(spec.dtype)}, wanted one of: {', '.join(DTYPES)}"
            )
        wrong = [size for size in spec.shape if size < -1 or size == 0]
        if wrong:
            here.add(spec, "shape", f"found the size {wrong[0]}, wanted -1 (any) or an integer of at least 1")


def _meant(dtype: str) -> str:
    if (known := _DTYPES_ELSEWHERE.get(dtype.lower())) is not None:
        return f" (did you mean {known!r}?)"
    return did_you_mean(dtype, DTYPES)


def specs_of(columns: Sequence[ColumnSpec] | None) -> dict[str, TensorSpec] | None:
    """The stated columns as specs; None where nothing is stated, or something wrong."""
    if columns is None or any(column.dtype not in DTYPES for column in columns):
        return None
    return {column.name: column.tensor() for column in columns}
