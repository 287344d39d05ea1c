"""Is an interpreter that cannot carry Headrace turned away with a way out?"""

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "create_venv.py"))
complaint = SCRIPT["complaint"]


def test_an_old_python_is_told_what_would_do() -> None:
    message = complaint((3, 9, 18), whole=True)

    assert "3.11 or newer" in message
    assert "is Python 3.9" in message
    assert "PYTHON=" in message


def test_a_python_without_venv_is_told_what_to_install() -> None:
    assert "apt install python3.12-venv" in complaint((3, 12, 1), whole=False)


def test_a_good_python_gets_no_complaint() -> None:
    assert complaint((3, 11, 0), whole=True) is None
    assert complaint((4, 0, 0), whole=True) is None
