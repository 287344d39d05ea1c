"""What is wrong with a route: its pipeline, its versions and aliases, its weights, its key?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headrace.core.config import did_you_mean
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import RouteSpec
from headrace.domain.tensors import TensorSpec
from headrace.infra.workspace.documents import Remarks


class RouteCheck:
    """Looks at the routes of one workspace."""

    def __init__(
        self,
        inputs: Mapping[PipelineRef, Mapping[str, TensorSpec] | None],
        aliases: Mapping[str, str],
        lost: Sequence[str],
    ) -> None:
        """*inputs* are the columns that each declared pipeline takes, None while they cannot be told."""
        self._inputs = inputs
        self._aliases = aliases
        self._lost = lost

    def look(self, spec: RouteSpec, remarks: Remarks) -> RouteSpec:
        """Say what is wrong with *spec*; returns it with the pipeline's own name."""
        name = self._aliases.get(spec.name, spec.name)
        versions = [ref.version for ref in self._inputs if ref.name == name]
        if not versions:
            self._no_pipeline(spec, name, remarks)
        else:
            _check_aliases(spec, versions, remarks)
            _check_versions(spec, versions, remarks)
            self._check_sticky(spec, name, remarks)
        _check_weights(spec, remarks)
        return remarks.reader.adopt(replace(spec, name=name), spec)

    def _no_pipeline(self, spec: RouteSpec, name: str, remarks: Remarks) -> None:
        if name in self._lost:
            return
        names = sorted({ref.name for ref in self._inputs} | set(self._aliases))
        found = f"found no pipeline {name!r}{did_you_mean(name, names)}, wanted one of: {', '.join(names) or 'none'}"
        remarks.add(spec, "name", found)

    def _check_sticky(self, spec: RouteSpec, name: str, remarks: Remarks) -> None:
        if spec.sticky is None:
            return
        known = [inputs for ref, inputs in self._inputs.items() if ref.name == name]
        names = {column for inputs in known if inputs is not None for column in inputs}
        if all(inputs is not None for inputs in known) and spec.sticky not in names:
            there = f"{did_you_mean(spec.sticky, names)}, wanted one of: {', '.join(sorted(names))}"
            remarks.add(spec, "sticky", f"found {spec.sticky!r}, which is no input of the pipeline{there}")


def _check_aliases(spec: RouteSpec, versions: Sequence[str], remarks: Remarks) -> None:
    here = remarks.within("aliases")
    for alias, version in spec.aliases.items():
        if alias in versions:
            here.add(spec.aliases, alias, f"found an alias that is called as version {alias!r}, wanted another name")
        if version in versions:
            continue
        if version == alias:
            here.add(spec.aliases, alias, f"found an alias of itself, wanted a version: {', '.join(versions)}")
        elif version in spec.aliases:
            here.add(spec.aliases, alias, f"found the alias {version!r}, wanted a version: {', '.join(versions)}")
        else:
            here.add(spec.aliases, alias, _no_version(version, versions))


def _check_versions(spec: RouteSpec, versions: Sequence[str], remarks: Remarks) -> None:
    known = [*versions, *spec.aliases]
    for key, named in (("default", spec.default), ("shadow", spec.shadow)):
        if named is not None and named not in known:
            remarks.add(spec, key, _no_version(named, known))
    for version in spec.split:
        if version not in known:
            remarks.within("split").add(spec.split, version, _no_version(version, known))
    for index, match in enumerate(spec.match):
        if match.version not in known:
            remarks.within("match", index).add(match, "version", _no_version(match.version, known))
        if not match.header:
            remarks.within("match", index).add(match, "header", "found no header, wanted a name and a value")


def _check_weights(spec: RouteSpec, remarks: Remarks) -> None:
    for version, weight in _bad_weights(spec.split):
        found = f"found {weight:g}, wanted a number of at least 0"
        remarks.within("split").add(spec.split, version, found)
    if spec.split and all(weight == 0 for weight in spec.split.values()):
        remarks.add(spec, "split", "found weights that add up to 0, wanted one above 0")
    if spec.sticky is not None and not spec.split:
        remarks.add(spec, "sticky", "found it without a split, which it would keep to one side of")


def _bad_weights(split: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    return ((version, weight) for version, weight in split.items() if not 0 <= weight < float("inf"))


def _no_version(version: str, known: Sequence[str]) -> str:
    return f"found no version {version!r}{did_you_mean(version, known)}, wanted one of: {', '.join(known)}"
