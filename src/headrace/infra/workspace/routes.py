"""What is wrong with a route that a file declares, and where does it stand?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.core.config import did_you_mean
from headrace.domain.registry import PipelineRef
from headrace.domain.route_check import RouteProblem, route_problems, weight_problems
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
        versions = {ref.version: inputs for ref, inputs in self._inputs.items() if ref.name == name}
        if not versions:
            self._no_pipeline(spec, name, remarks)
        for problem in route_problems(spec, versions) if versions else weight_problems(spec):
            _remark(spec, problem, remarks)
        return remarks.reader.adopt(replace(spec, name=name), spec)

    def _no_pipeline(self, spec: RouteSpec, name: str, remarks: Remarks) -> None:
        if name in self._lost:
            return
        names = sorted({ref.name for ref in self._inputs} | set(self._aliases))
        found = f"found no pipeline {name!r}{did_you_mean(name, names)}, wanted one of: {', '.join(names) or 'none'}"
        remarks.add(spec, "name", found)


def _remark(spec: RouteSpec, problem: RouteProblem, remarks: Remarks) -> None:
    *way, last = problem.path
    owner: Any = spec
    for part in way:
        owner = owner[part] if isinstance(part, int) else getattr(owner, part)
    remarks.within(*way).add(owner, last, problem.message)
