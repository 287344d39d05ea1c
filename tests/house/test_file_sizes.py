"""Can every source file be read in one sitting?"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 400
REASON = "Longer than 400 lines because"


def is_too_long(source: str) -> bool:
    """Whether *source* passes the limit and its docstring states no reason on a line of its own."""
    if len(source.splitlines()) <= LIMIT:
        return False
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return not any(line.startswith(REASON) for line in docstring.splitlines())


def test_no_source_file_is_long_without_a_stated_reason() -> None:
    files = sorted((ROOT / "src").rglob("*.py"))

    assert [file for file in files if is_too_long(file.read_text())] == []


def test_a_long_file_is_noticed_and_a_stated_reason_excuses_it() -> None:
    code = "x = 1\n" * LIMIT

    assert not is_too_long(code)
    assert is_too_long(code + "x = 2\n")
    assert is_too_long('"""Why?"""\n' + code)
    assert not is_too_long(f'"""Why?\n\n{REASON} it is one table.\n"""\n' + code)
