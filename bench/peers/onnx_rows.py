"""What does every peer run? The same ONNX file with the same session options: rows in, rows out.

Each peer imports it in an environment of its own, so it needs NumPy and ONNX Runtime alone, and for text tokenizers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TEXT_INPUT = "text"
NUMBER_INPUT = "x"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one peer is started: what to serve, where, and how many of everything.

    They travel as `BENCH_*` variables of the environment, the one thing that every framework hands on to the worker
    processes that it starts.
    """

    model: str = "tiny"
    file: str = "build/bench/models/tiny.onnx"
    port: int = 8000
    workers: int = 1
    threads: int = 1
    batch: int = 64
    flavour: str = ""

    @classmethod
    def read(cls) -> Settings:
        """What the environment says; the defaults above elsewhere."""
        given = {name: os.environ.get(f"BENCH_{name.upper()}") for name in cls.__dataclass_fields__}
        kinds = {name: type(getattr(cls(), name)) for name in given}
        return cls(**{name: kinds[name](value) for name, value in given.items() if value is not None})

    def environment(self) -> dict[str, str]:
        """The variables that `read` understands."""
        return {f"BENCH_{name.upper()}": str(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def column(self) -> str:
        """The name of the model's input in a request: `text`, or `x` for numbers."""
        return TEXT_INPUT if (Path(self.file).parent / "tokenizer.json").exists() else NUMBER_INPUT


class Rows:
    """A model as rows see it: lists of floats, or texts, in; float32 rows out."""

    def __init__(self, file: str, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The cores are shared with the server and with the load: a thread without work must sleep.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._row = self._session.get_inputs()[0].shape[1:]
        self._tokenizer = _tokenizer(Path(file).parent / "tokenizer.json")

    def __call__(self, rows: Sequence[Any] | np.ndarray) -> np.ndarray:
        """The model's first output for *rows*, float32 `[rows, ...]`."""
        found: np.ndarray = self._session.run(None, self._texts(rows) if self._tokenizer else self._numbers(rows))[0]
        return found

    def _numbers(self, rows: Sequence[Any] | np.ndarray) -> dict[str, np.ndarray]:
        given = np.asarray(rows, dtype=np.float32)
        return {self._inputs[0]: given.reshape(len(given), *self._row) if len(self._row) > 1 else given}

    def _texts(self, rows: Sequence[Any] | np.ndarray) -> dict[str, np.ndarray]:
        tokens = self._tokenizer.encode_batch_fast(list(rows))
        ids = np.array([row.ids for row in tokens], np.int64)
        mask = np.array([row.attention_mask for row in tokens], np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: given[name] for name in self._inputs}


def _tokenizer(file: Path) -> Any:
    if not file.exists():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"), pad_token="[PAD]")
    return tokenizer


def open_rows(settings: Settings) -> Rows:
    """The model that *settings* name, with their threads."""
    return Rows(settings.file, threads=settings.threads)
