"""Does everything that a reader meets first say what it is for?"""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def undocumented(source: str) -> Iterator[str]:
    """Each public class and function at the top of *source* without a docstring; `module` if that lacks one."""
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield "module"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or any("overload" in ast.unparse(mark) for mark in node.decorator_list):
            continue
        if not ast.get_docstring(node):
            yield node.name


def test_every_module_and_public_name_has_a_docstring() -> None:
    files = sorted(SOURCE.rglob("*.py"))

    found = {file.relative_to(SOURCE).as_posix(): list(undocumented(file.read_text())) for file in files}

    assert {file: names for file, names in found.items() if names} == {}


def test_missing_docstrings_are_noticed() -> None:
    source = '''
def bare(): ...
async def bare_too(): ...
class Bare: ...
def told():
    """Told."""
def _private(): ...
@overload
def many(x: int): ...
'''

    assert list(undocumented(source)) == ["module", "bare", "bare_too", "Bare"]
