"""Does a step's name lead where the contract says, and does an edit of a file take effect?"""

import sys
from pathlib import Path

import pytest

from headrace.domain.errors import InvalidConfig, NotFound
from headrace.domain.steps import STEPS
from headrace.infra.step_lookup import StepLookup


def lookup(root: Path, **files: str) -> StepLookup:
    (root / "steps").mkdir(exist_ok=True)
    for stem, text in files.items():
        (root / "steps" / f"{stem}.py").write_text(text)
    found = StepLookup(root)
    found.refresh()
    return found


def offer(folder: Path, line: str) -> None:
    """Make *folder* look like one into which a package with an entry point was installed."""
    metadata = folder / "headrace_shop-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-shop\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[headrace.steps]\n{line}\n")


def test_the_workspace_comes_before_the_built_in(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="def tokenize(text): return text\n")

    assert steps.find("tokenize").function is not STEPS["tokenize"]
    assert steps.find("image.decode").function is STEPS["image.decode"]


def test_an_installed_package_offers_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path / "site", "shop.shout = headrace_shop_steps:shout")
    (tmp_path / "site" / "headrace_shop_steps.py").write_text("def shout(text, *, loud: bool = True): return text\n")
    monkeypatch.syspath_prepend(tmp_path / "site")

    kind = lookup(tmp_path).find("shop.shout")

    assert list(kind.signature.parameters) == ["loud"]
    assert "shop.shout" in lookup(tmp_path).names()


def test_an_offer_that_cannot_be_imported_says_what_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path / "site", "shop.shout = headrace_shop_missing:shout")
    monkeypatch.syspath_prepend(tmp_path / "site")

    with pytest.raises(InvalidConfig, match=r"headrace_shop_missing:shout.*ModuleNotFoundError"):
        lookup(tmp_path).find("shop.shout")


def test_a_function_of_an_installed_module_is_a_step(tmp_path: Path) -> None:
    assert lookup(tmp_path).find("headrace.domain.steps.text:clean").function is STEPS["text.clean"]


def test_a_function_of_a_package_in_the_workspace_is_a_step(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/texts.py").write_text("def shout(text): return text\n")

    assert lookup(tmp_path).find("shop.texts:shout").signature.columns == ("text",)


def test_a_file_s_name_tells_functions_of_one_name_apart(tmp_path: Path) -> None:
    steps = lookup(tmp_path, a="def shout(first): return first\n", b="def shout(second): return second\n")

    with pytest.raises(InvalidConfig, match=r"a\.shout or b\.shout"):
        steps.find("shout")
    assert steps.find("b.shout").signature.columns == ("second",)


def test_private_and_imported_functions_are_no_steps(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="from textwrap import dedent\ndef _shout(text): return text\n")

    for name in ("dedent", "_shout"):
        with pytest.raises(NotFound):
            steps.find(name)


def test_files_import_each_other(tmp_path: Path) -> None:
    steps = lookup(tmp_path, a="from ._words import LOUD\ndef shout(text): return LOUD\n", _words="LOUD = 'loud'\n")

    assert steps.broken == ()
    assert steps.find("shout").function(None) == "loud"


def test_a_broken_neighbour_is_told_at_both_places(tmp_path: Path) -> None:
    steps = lookup(tmp_path, a="\nfrom .b import LOUD\n", b="LOUD = (\n", c="def shout(text): return text\n")

    assert [(broken.file.name, broken.line) for broken in steps.broken] == [("a.py", 2), ("b.py", 1)]
    assert steps.find("shout")


def test_a_file_that_ends_the_process_is_only_broken(tmp_path: Path) -> None:
    steps = lookup(tmp_path, a="import sys\nsys.exit(3)\n")

    assert [broken.line for broken in steps.broken] == [2]


def test_an_edit_takes_effect_even_within_a_second_and_of_equal_length(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="def one(x): return 1\n")
    before = steps.find("one").function
    (tmp_path / "steps/own.py").write_text("def one(x): return 2\n")

    steps.refresh()

    assert steps.find("one").function(None) == 2
    assert before(None) == 1


def test_files_that_did_not_change_are_not_imported_again(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="def one(x): return 1\n")
    before = steps.find("one").function

    steps.refresh()

    assert steps.find("one").function is before


def test_imports_leave_no_trace_on_the_search_path(tmp_path: Path) -> None:
    path, finders = list(sys.path), list(sys.meta_path)

    lookup(tmp_path, own="def one(x): return 1\n")

    assert (sys.path, sys.meta_path) == (path, finders)
    assert "own" not in sys.modules
    assert not (tmp_path / "steps/__pycache__").exists()


def test_an_unknown_step_is_answered_with_what_there_is(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="def shout(text): return text\n")

    with pytest.raises(NotFound, match=r"did you mean 'text.clean'\?; there are: text.clean, "):
        steps.find("text.claen")
    with pytest.raises(NotFound, match="in steps/: shout"):
        steps.find("nothing_like_it")


def test_a_function_whose_hints_cannot_be_read_is_told(tmp_path: Path) -> None:
    steps = lookup(tmp_path, own="from __future__ import annotations\ndef one(x: Nowhere): return x\n")

    with pytest.raises(InvalidConfig, match=r"'one' cannot be used.*Nowhere"):
        steps.find("one")
