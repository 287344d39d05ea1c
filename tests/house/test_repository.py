"""Is the repository fit for strangers: no trace of one machine, no link that leads nowhere?"""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = {".git", ".venv", "demo", "site", "dist", "build", "data", "__pycache__", ".hypothesis"}

# Neither pattern matches its own text here.
HOME = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work)/[\w.]")
REGISTRIES = re.compile(r"\b(?:pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org)\b")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)


@cache
def committed_files() -> list[Path]:
    """What git holds or is about to hold; outside a repository, all but what the commands generate."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        files = [ROOT / name for name in asked.stdout.split("\0") if name]
    else:
        files = [file for file in ROOT.rglob("*") if not is_generated(file.relative_to(ROOT))]
    return sorted(file for file in files if file.is_file())


def is_generated(path: Path) -> bool:
    return any(part in GENERATED or part.endswith("_cache") for part in path.parts)


def text_of(file: Path) -> str:
    """The content of a text file; nothing for a binary one."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def matches(pattern: re.Pattern[str], text: str) -> list[str]:
    """The lines of *text* in which *pattern* occurs, with their numbers."""
    return [f"{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def relative_links(markdown: str) -> list[str]:
    """The targets in *markdown* that name a file of ours, without their anchors; code is no link."""
    prose = CODE.sub("", FENCE.sub("", markdown))
    targets = [inline or reference for inline, reference in LINK.findall(prose)]
    local = [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", target)]
    return [target.partition("#")[0] for target in local]


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    found = {file: lines for file in committed_files() if (lines := matches(HOME, text_of(file)))}

    assert found == {}


def test_no_file_names_a_package_registry() -> None:
    found = {file: lines for file in committed_files() if (lines := matches(REGISTRIES, text_of(file)))}

    assert found == {}


def test_every_relative_link_leads_somewhere() -> None:
    pages = [file for file in committed_files() if file.suffix == ".md"]

    dead = {
        page: missing
        for page in pages
        if (missing := [link for link in relative_links(text_of(page)) if not (page.parent / link).exists()])
    }

    assert dead == {}


def test_machine_paths_are_told_from_paths_of_ours() -> None:
    somebodys = ["see /" + "home/ann/x", "'/" + "root/.cache'", "(/" + "Users/ann)"]
    ours = ["GET /work", "https://example.com/home/page", "~/work/x", "src/root/file", "/api/v1/models"]

    assert all(HOME.search(line) for line in somebodys)
    assert not any(HOME.search(line) for line in ours)


def test_links_are_told_from_code_and_from_other_sites() -> None:
    page = """
[a](one.md) ![b](two/b.png "title") [c](three.md#part) [d](https://example.com) [e](#here) `[f](no.md)`
```
[g](no.md)
```
[h]: four.md
"""

    assert relative_links(page) == ["one.md", "two/b.png", "three.md", "four.md"]
