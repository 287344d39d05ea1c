"""Do the reference pages say what the code does today?"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(reference: ModuleType) -> None:
    stale = [path for path, text in reference.pages().items() if not reference.is_current(path, text)]

    assert stale == [], "run: python scripts/reference.py"


def test_every_setting_has_words_of_its_own(reference: ModuleType) -> None:
    silent = [
        row.key
        for kind in (reference.ModelSpec, reference.PipelineSpec, reference.RouteSpec, reference.Settings)
        for row in reference.describe(kind)
        if not row.doc and not row.type.startswith("a mapping") and "." not in row.key
    ]

    assert silent == []


def test_every_step_says_what_it_does(reference: ModuleType) -> None:
    assert [name for name, function in reference.STEPS.items() if not function.__doc__] == []


def test_every_error_code_has_a_meaning_and_a_status(reference: ModuleType) -> None:
    codes = {kind.code for kind in reference.error_kinds()}

    assert codes == set(reference.STATUS) == set(reference.meanings())


def test_a_stale_page_is_noticed(reference: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")

    assert not reference.is_current(page, "new")
    assert not reference.is_current(tmp_path / "missing.md", "new")
    assert reference.is_current(page, "old")
