"""Can this model run in a process of its own, and are the limits of that process sensible?"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Final

from headrace.domain.spec import ModelSpec, ProcessSpec
from headrace.infra.runtimes.workspace_code import source_file
from headrace.infra.workspace.documents import Remarks

AWAITED: Final = ("openai", "open_inference")
"""Types whose model runs elsewhere already; the server waits for it without a thread, let alone a process."""


def check_isolation(spec: ModelSpec, root: Path, remarks: Remarks) -> None:
    """Say what is wrong with ``isolation`` and ``process`` of *spec*."""
    if spec.isolation != "process":
        if spec.process != ProcessSpec():
            remarks.add(spec, "process", "found limits of a process, but no `isolation: process`")
        return
    if (why := _why_not(spec, root)) is not None:
        remarks.add(spec, "isolation", f"found 'process' {why}, wanted 'thread'")
    here = remarks.within("process")
    for key in ("load_timeout_s", "predict_timeout_s", "memory_limit_mb"):
        value = getattr(spec.process, key)
        if value is not None and value <= 0:
            here.add(spec.process, key, f"found {value:g}, wanted more than 0")


def _why_not(spec: ModelSpec, root: Path) -> str | None:
    if not (hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")):
        return "on a system that is not Linux"
    if spec.type in AWAITED:
        return f"for the type {spec.type}, whose model runs elsewhere already"
    if spec.type == "python" and _is_coroutine(spec.path, root):
        return "for a coroutine function, which is awaited in the server"
    return None


def _is_coroutine(reference: str, root: Path) -> bool:
    """Whether *reference* leads to an ``async def`` of a workspace file; nothing of it is run."""
    file = source_file(reference, root)
    if file is None:
        return False
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False  # which is told where the file is looked at
    name = reference.rpartition(":")[2]
    return any(isinstance(node, ast.AsyncFunctionDef) and node.name == name for node in tree.body)
