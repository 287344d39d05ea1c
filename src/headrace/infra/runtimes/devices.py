"""Where does a model run, and on how many threads: `device`, `device_required` and `threads` of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headrace.domain.errors import InvalidConfig
from headrace.domain.parameters import nearest


@dataclass(frozen=True, slots=True)
class Device:
    """What was asked for: *kind* and the *index* of the GPU; *required* when nothing else will do."""

    kind: Literal["cpu", "cuda", "auto"]
    index: int = 0
    required: bool = False

    @property
    def wants_gpu(self) -> bool:
        """Whether a GPU is tried first."""
        return self.kind != "cpu"

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind

    def settle_for_cpu(self, why: str) -> str | None:
        """Run on the CPU because no GPU can be had: the warning to show, None if ``auto`` left the choice to us.

        Raises InvalidConfig when the device is required.
        """
        if self.kind != "cuda":
            return None
        if self.required:
            raise InvalidConfig(
                f"device {self} is required and not there: {why}; device_required: false allows the CPU"
            )
        return f"device {self} is not there ({why}): running on the CPU"


def device_of(config: Mapping[str, Any]) -> Device:
    """The device in a model's *config*. Raises InvalidConfig for one that cannot be."""
    text = str(config.get("device", "auto"))
    required = bool(config.get("device_required", False))
    if text == "auto":
        return Device("auto", 0, required)
    if text == "cpu":
        return Device("cpu", 0, required)
    if match := re.fullmatch(r"cuda(?::(\d+))?", text):
        return Device("cuda", int(match[1] or 0), required)
    raise InvalidConfig(f"no device {text!r}{nearest(text, ['cpu', 'cuda', 'auto'])}; allowed: cpu, cuda, cuda:N, auto")


def threads_of(config: Mapping[str, Any], auto: int = 1) -> int:
    """Threads inside one call; *auto* where the model's file leaves it open. Raises InvalidConfig."""
    threads = config.get("threads", "auto")
    if threads == "auto":
        return auto
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidConfig(f"threads wants auto or an integer of at least 1, not {threads!r}")
    return threads
