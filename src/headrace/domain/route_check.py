"""What is wrong with a route: its versions and aliases, its weights, its key? Asked of files and at run time alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from headrace.domain.parameters import nearest
from headrace.domain.spec import RouteSpec
from headrace.domain.tensors import TensorSpec

Inputs = Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """One thing that does not hold. *path* leads to it; *missing*: a version that it names is not there."""

    path: tuple[str | int, ...]
    message: str
    missing: bool = False

    @property
    def key(self) -> str:
        """The path as one writes it: ``match[0].version``."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).removeprefix(".")


def route_problems(spec: RouteSpec, versions: Mapping[str, Inputs | None]) -> Iterator[RouteProblem]:
    """Everything that is wrong with *spec*, the route of a pipeline.

    *versions* are those that exist, with the columns that each takes, None while they cannot be told.
    """
    yield from _of_aliases(spec, versions)
    yield from _of_versions(spec, [*versions, *spec.aliases])
    yield from _of_sticky(spec, versions.values())
    yield from weight_problems(spec)


def _of_aliases(spec: RouteSpec, versions: Collection[str]) -> Iterator[RouteProblem]:
    listed = ", ".join(versions)
    for alias, version in spec.aliases.items():
        path = ("aliases", alias)
        if alias in versions:
            yield RouteProblem(path, f"found an alias that is called as version {alias!r}, wanted another name")
        if version in versions:
            continue
        if version == alias:
            yield RouteProblem(path, f"found an alias of itself, wanted a version: {listed}")
        elif version in spec.aliases:
            yield RouteProblem(path, f"found the alias {version!r}, wanted a version: {listed}")
        else:
            yield _no_version(path, version, versions)


def _of_versions(spec: RouteSpec, known: Collection[str]) -> Iterator[RouteProblem]:
    for key, named in (("default", spec.default), ("shadow", spec.shadow)):
        if named is not None and named not in known:
            yield _no_version((key,), named, known)
    for version in spec.split:
        if version not in known:
            yield _no_version(("split", version), version, known)
    for index, match in enumerate(spec.match):
        if match.version not in known:
            yield _no_version(("match", index, "version"), match.version, known)
        if not match.header:
            yield RouteProblem(("match", index, "header"), "found no header, wanted a name and a value")


def _of_sticky(spec: RouteSpec, inputs: Collection[Inputs | None]) -> Iterator[RouteProblem]:
    names = sorted({column for known in inputs if known is not None for column in known})
    if spec.sticky is None or spec.sticky in names or any(known is None for known in inputs):
        return
    there = f"{_did_you_mean(spec.sticky, names)}, wanted one of: {', '.join(names)}"
    yield RouteProblem(("sticky",), f"found {spec.sticky!r}, which is no input of the pipeline{there}")


def weight_problems(spec: RouteSpec) -> Iterator[RouteProblem]:
    """What is wrong with the weights, whichever versions there are."""
    for version, weight in spec.split.items():
        if not 0 <= weight < float("inf"):
            yield RouteProblem(("split", version), f"found {weight:g}, wanted a number of at least 0")
    if spec.split and all(weight == 0 for weight in spec.split.values()):
        yield RouteProblem(("split",), "found weights that add up to 0, wanted one above 0")
    if spec.sticky is not None and not spec.split:
        yield RouteProblem(("sticky",), "found it without a split, which it would keep to one side of")


def _no_version(path: tuple[str | int, ...], version: str, known: Collection[str]) -> RouteProblem:
    there = f"{_did_you_mean(version, known)}, wanted one of: {', '.join(known)}"
    return RouteProblem(path, f"found no version {version!r:.200}{there}", missing=True)


def _did_you_mean(word: str, words: Collection[str]) -> str:
    meant = nearest(word, list(words))
    return f" ({meant.removeprefix('; ')})" if meant else ""
