"""Do references lead to hooks and middleware, and is what does not fit told clearly?"""

from pathlib import Path

import pytest

from headrace import assembly
from headrace.domain.errors import InvalidConfig
from headrace.domain.hooks import why_no_hook
from headrace.infra.hooks import load_hooks, load_middleware

CODE = """
class Diary:
    def on_startup(self): ...
    def before_batch(self, ref, size): ...

class Needy:
    def __init__(self, needs): ...
    def on_startup(self): ...

class Nothing:
    pass

class Misspelt:
    def on_start_up(self): ...

class TooNarrow:
    def after_batch(self, ref, size): ...

diary = Diary()
number = 3

def wrap(app):
    return app
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "ours.py").write_text(CODE)
    return tmp_path


def main(root: Path, text: str) -> Path:
    file = root / "config" / "main.yaml"
    file.write_text(text)
    return file


def test_an_object_and_a_class_of_the_workspace_are_hooks(root: Path) -> None:
    hooks = load_hooks(["ours:diary", "ours.py:Diary"], root)

    assert [type(hook).__name__ for hook in hooks.values()] == ["Diary", "Diary"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Needy", "cannot be made: TypeError"),
        ("Nothing", "none of the methods on_startup"),
        ("Misspelt", "'on_start_up'.*did you mean 'on_startup'"),
        ("TooNarrow", r"after_batch\(ref, size, seconds\)"),
        ("number", "none of the methods"),
        ("dairy", "no 'dairy'"),
    ],
)
def test_what_is_no_hook_is_told_why(root: Path, name: str, why: str) -> None:
    with pytest.raises(InvalidConfig, match=why):
        load_hooks([f"ours:{name}"], root)


def test_middleware_is_something_that_can_be_called(root: Path) -> None:
    [(name, wrap)] = load_middleware(["ours:wrap"], root)

    assert (name, wrap("app")) == ("ours:wrap", "app")
    with pytest.raises(InvalidConfig, match="'ours:number' is a int"):
        load_middleware(["ours:number"], root)


def test_check_names_the_line_and_the_nearest_spelling(root: Path) -> None:
    config = main(root, "hooks:\n  - ours:diary\n  - ours:dairy\napi:\n  middleware: [ours:warp, nowhere:wrap]\n")

    mistakes = assembly.check(config).mistakes

    assert mistakes[0].startswith("config/main.yaml:3: hooks[1]: found no 'dairy'")
    assert "'diary'" in mistakes[0]
    assert mistakes[1].startswith("config/main.yaml:5: api.middleware[0]: found no 'warp'")
    assert mistakes[2].startswith("config/main.yaml:5: api.middleware[1]: ")
    assert len(mistakes) == 3
    with pytest.raises(InvalidConfig, match=r"hooks\[1\]"):
        assembly.load_settings(config)


def test_a_method_that_takes_anything_fits() -> None:
    class Anything:
        def __getattr__(self, name: str) -> object:
            raise AttributeError

        def on_error(self, *told: object) -> None: ...

    assert why_no_hook(Anything()) is None
