"""Does every file, folder and class name say what is inside, or is it a drawer?"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRAWERS = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
EMPTY_WORDS = ("Helper", "Helpers", "Manager", "Util", "Utils")


def drawers_in(path: Path) -> set[str]:
    """The words of *path* that say nothing about its content: `http_utils.py` has one."""
    return {word for part in path.with_suffix("").parts for word in part.lower().split("_")} & DRAWERS


def empty_words_in(source: str) -> set[str]:
    """The classes of *source* whose names end in a word that any class could end in."""
    names = [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return {name for name in names if re.search(rf"(?:{'|'.join(EMPTY_WORDS)})$", name)}


def test_no_file_or_folder_is_a_drawer() -> None:
    folders = [ROOT / name for name in ("src", "tests", "scripts", "examples", "bench")]
    files = [file.relative_to(ROOT) for folder in folders for file in folder.rglob("*.py")]

    assert {file: found for file in files if (found := drawers_in(file))} == {}


def test_no_class_is_named_after_nothing() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))

    assert {file: found for file in files if (found := empty_words_in(file.read_text()))} == {}


def test_drawers_are_told_from_names_that_only_contain_them() -> None:
    assert drawers_in(Path("src/headrace/http_utils.py")) == {"utils"}
    assert drawers_in(Path("src/common/steps.py")) == {"common"}
    assert not drawers_in(Path("src/headrace/database.py"))
    assert empty_words_in("class ModelManager: ...\nclass Registry: ...\nclass _x: ...") == {"ModelManager"}
