"""Does every import in the package point the way that the architecture allows?"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "headrace"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = ("core", "domain", "services", "adapters", "infra")
FRAMEWORKS = {"onnxruntime", "sklearn", "tensorflow", "torch", "transformers"}

ALLOWED = [
    ("services", "from headrace.domain import thing"),
    ("services", "from headrace.core import thing"),
    ("adapters", "from headrace.services import thing"),
    ("adapters", "import fastapi"),
    ("infra", "from headrace.domain import thing"),
    ("assembly", "from headrace import adapters, core, domain, infra, services"),
    ("serving", "from headrace import adapters, assembly, core, domain, infra, place, services, supervising"),
    ("place", "from headrace import assembly"),
    ("worker", "from headrace import place, serving"),
    ("__main__", "from headrace import adapters, assembly, serving"),
    ("__init__", "from headrace import assembly"),
]
BARRED = [
    ("core", "from headrace.domain import thing"),
    ("domain", "from headrace.core import thing"),
    ("domain", "from headrace.services import thing"),
    ("services", "from headrace.adapters import thing"),
    ("services", "from headrace.infra import thing"),
    ("adapters", "from headrace.infra import thing"),
    ("adapters", "from headrace.assembly import thing"),
    ("assembly", "from headrace import serving"),
    ("supervising", "from headrace import serving"),
    ("serving", "from headrace import worker"),
    ("infra", "from headrace.services import thing"),
    ("infra", "from headrace.adapters import thing"),
    ("core", "import pydantic"),
    ("domain", "import starlette"),
    ("services", "from fastapi import FastAPI"),
    ("services", "def ask():\n    import httpx"),
    ("domain", "import asyncio"),
    ("stray", ""),
]


def lint(package: Path) -> subprocess.CompletedProcess[str]:
    """Hold the contracts of pyproject.toml against the package whose parent folder is *package*'s."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(package.parent), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def package_with(folder: Path, module: str, line: str) -> Path:
    """An empty house in *folder* in which *module* holds one *line*."""
    package = folder / "headrace"
    for name in FOLDERS:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text("")
        (package / name / "thing.py").write_text("")
    for name in ("__init__", "__main__", "assembly", "place", "serving", "supervising", "worker"):
        (package / f"{name}.py").write_text("")
    place = package / module / "thing.py" if module in FOLDERS else package / f"{module}.py"
    place.write_text(line + "\n")
    return package


def imports_at_load(body: list[ast.stmt]) -> Iterator[str]:
    """The absolute module names that running *body* imports: not those inside functions or `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports_at_load(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for field in ("body", "orelse", "finalbody"):
                yield from imports_at_load(getattr(node, field, []))
            for part in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
                yield from imports_at_load(part.body)


def roots_at_load(source: str) -> set[str]:
    return {name.partition(".")[0] for name in imports_at_load(ast.parse(source).body)}


def facade_names(source: str) -> set[str]:
    """What *source* takes from the package's own front door."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in nodes if node.module == "headrace" for alias in node.names}


def test_the_house_keeps_its_contracts() -> None:
    report = lint(PACKAGE)

    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize(("module", "line"), BARRED)
def test_a_barred_import_breaks_a_contract(tmp_path: Path, module: str, line: str) -> None:
    report = lint(package_with(tmp_path, module, line))

    assert report.returncode == 1, report.stdout + report.stderr
    assert "broken" in report.stdout


def test_the_allowed_imports_break_nothing(tmp_path: Path) -> None:
    package = package_with(tmp_path, "core", "")
    for module, line in ALLOWED:
        place = package / module / "more.py" if module in FOLDERS else package / f"{module}.py"
        with place.open("a") as file:
            file.write(line + "\n")

    report = lint(package)

    assert report.returncode == 0, report.stdout + report.stderr


def test_every_folder_with_code_is_a_package_that_the_linter_sees() -> None:
    unseen = {file.parent for file in SOURCES if not (file.parent / "__init__.py").exists()}

    assert not unseen, "these folders lack an __init__.py"


def test_frameworks_are_imported_only_where_they_are_used() -> None:
    offenders = {file: found for file in SOURCES if (found := roots_at_load(file.read_text()) & FRAMEWORKS)}

    assert not offenders


def test_domain_loads_with_the_standard_library_and_numpy_alone() -> None:
    known = sys.stdlib_module_names | {"headrace", "numpy"}
    files = sorted((PACKAGE / "domain").rglob("*.py"))

    offenders = {file: found for file in files if (found := roots_at_load(file.read_text()) - known)}

    assert not offenders


def test_nobody_inside_comes_in_by_the_front_door() -> None:
    # The linter ignores what the facade imports, so this would be a way around every arrow.
    inside = [file for file in SOURCES if file.parent != PACKAGE]
    harmless = {"__version__", *FOLDERS}  # the folders are modules, which the linter follows

    offenders = {file: found for file in inside if (found := facade_names(file.read_text()) - harmless)}

    assert not offenders


def test_imports_at_load_are_told_from_those_in_functions() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
try:
    import onnxruntime.capi
except ImportError:
    import sklearn
class Model:
    import transformers
def load():
    import tensorflow
"""

    assert roots_at_load(source) & FRAMEWORKS == {"onnxruntime", "sklearn", "transformers"}
