"""How does the file of a trained estimator become one? By its format, and never by running code without `trust`."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from headrace.domain.errors import EngineError, InvalidConfig
from headrace.infra.runtimes.packages import framework
from headrace.infra.runtimes.sklearn_boosters import lightgbm_booster, xgboost_booster

EXTRA: Final = "sklearn"
SUFFIXES: Final[Mapping[str, str]] = {
    ".skops": "skops",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "pickle",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
}
"""Which format a file's name promises; what its first bytes say goes before."""

HEAD: Final = 4096
MOST_NAMED: Final = 8

_READING: Final = threading.Lock()  # `catch_warnings` changes the filters of the whole process


@dataclass(frozen=True, slots=True)
class Artefact:
    """What was read: the estimator, its *platform* (the library and the format), and what was found odd."""

    estimator: Any
    platform: str
    warnings: tuple[str, ...] = ()


def read(path: Path, *, trust: bool, threads: int) -> Artefact:
    """The estimator in the file at *path*, or in the folder there when it holds a single one.

    Raises InvalidConfig for a format that can run code (pickle, or types that skops does not know to be harmless)
    without *trust*, and for what cannot be read. Warnings of the libraries become those of the artefact. A booster in
    a native format uses *threads*.
    """
    file = _file(path)
    kind = _format(file)
    reader = READERS[kind]
    try:
        with _READING, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            artefact = reader(file, trust, threads)
    except EngineError:
        raise
    except Exception as error:  # what a damaged file does to a library has no common type
        said = str(error).replace(str(file), file.name).splitlines() or [""]
        raise InvalidConfig(f"it cannot be read as {kind}: {type(error).__name__}: {said[0][:300]}") from error
    return replace(artefact, warnings=_told([entry.message for entry in seen]))


def _file(path: Path) -> Path:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if len(files) == 1:
            return files[0]
        found = ", ".join(file.name for file in files) or "none"
        raise InvalidConfig(f"the folder wants a single file of {', '.join(SUFFIXES)}; there is: {found}")
    if not path.is_file():
        raise InvalidConfig("there is no such file")
    return path


def _format(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    promised = SUFFIXES.get(file.suffix.lower())
    found = _from_content(head) or promised
    if not head or found is None:
        what = "the file is empty" if not head else f"nothing tells the format of {file.name}"
        raise InvalidConfig(f"{what}; it wants one of {', '.join(SUFFIXES)}")
    if promised is not None and found != promised:
        raise InvalidConfig(f"the file is called {file.suffix}, which is {promised}, but holds {found}")
    return found


def _from_content(head: bytes) -> str | None:
    """The format that the first bytes prove; None when they do not (pickles may be compressed in many ways)."""
    if head.startswith(b"PK\x03\x04"):
        return "skops"
    if head.startswith(b"tree\n") or b"\nversion=v" in head[:64]:
        return "lightgbm"
    if head.lstrip().startswith(b"{") and b"learner" in head:
        return "xgboost"
    return "pickle" if head.startswith(b"\x80") else None


def _skops(file: Path, trust: bool, threads: int) -> Artefact:
    framework("sklearn", extra=EXTRA)
    skops = framework("skops.io", extra=EXTRA)
    strange = sorted(skops.get_untrusted_types(file=file))
    if strange and not trust:
        raise InvalidConfig(f"it holds types that may do harm when they are used: {_listed(strange)}; {_way_out()}")
    return Artefact(skops.load(file, trusted=strange), "sklearn_skops")


def _pickle(file: Path, trust: bool, threads: int) -> Artefact:
    if not trust:
        raise InvalidConfig(f"a pickle can run any code when it is read; {_way_out()}, or save it with skops")
    framework("sklearn", extra=EXTRA)
    return Artefact(framework("joblib", extra=EXTRA).load(file), "sklearn_pickle")


def _xgboost(file: Path, trust: bool, threads: int) -> Artefact:
    form = "json" if file.suffix.lower() == ".json" else "ubj"
    return Artefact(xgboost_booster(framework("xgboost", extra=EXTRA), file, threads), f"xgboost_{form}")


def _lightgbm(file: Path, trust: bool, threads: int) -> Artefact:
    return Artefact(lightgbm_booster(framework("lightgbm", extra=EXTRA), file, threads), "lightgbm_text")


READERS: Final[Mapping[str, Callable[[Path, bool, int], Artefact]]] = {
    "skops": _skops,
    "pickle": _pickle,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}


def _way_out() -> str:
    return "if you trust who made it, say so with trust: true"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _told(seen: Sequence[Warning | str]) -> tuple[str, ...]:
    """Each warning once: a forest saved by another version says so for every one of its trees."""
    told: dict[str, None] = {}
    for warning in seen:
        saved = getattr(warning, "original_sklearn_version", None)
        if saved is not None:
            now = getattr(warning, "current_sklearn_version", "another version")
            told[f"saved by scikit-learn {saved} and read by {now}: answers may differ; save it anew with {now}"] = None
        else:
            told[" ".join(str(warning).split())[:300]] = None
    return tuple(told)
