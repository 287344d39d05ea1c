"""Which models does a workspace declare, and which one does a pipeline mean?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from headrace.core.config import MapNode, ScalarNode, did_you_mean
from headrace.domain.errors import NotFound
from headrace.domain.spec import ModelSpec
from headrace.infra.workspace.documents import Document


class ModelIndex:
    """The declared models by (name, version); those written inside a pipeline too, once they are added."""

    def __init__(self, documents: Iterable[Document[ModelSpec]], lost: Iterable[str]) -> None:
        """*lost* are the names of documents of which nothing can be told; nobody is blamed for naming one."""
        self.specs: dict[tuple[str, str], ModelSpec] = {}
        self.documents: dict[tuple[str, str], Document[ModelSpec]] = {}
        self.aliases: dict[str, str] = {}
        self._lost = set(lost)
        for document in documents:
            key = (document.spec.name, document.spec.version)
            self.specs.setdefault(key, document.spec)
            self.documents.setdefault(key, document)
            self.aliases[document.stem] = document.spec.name
        for name, _ in self.specs:
            self.aliases.pop(name, None)

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self.specs.values())

    def add(self, spec: ModelSpec) -> bool:
        """Add a model that a pipeline holds; False if another one goes by its name and version."""
        return self.specs.setdefault((spec.name, spec.version), spec) == spec

    def find(self, name: str, version: str | None = None) -> ModelSpec | None:
        """The model of that name, or of the file of that name; None if its file cannot be read.

        Raises NotFound when there is none, no such version, or several and *version* does not choose.
        """
        name = self.aliases.get(name, name)
        versions = self.versions(name)
        if not versions:
            if name in self._lost:
                return None
            names = sorted({known for known, _ in self.specs} | set(self.aliases))
            there = f"wanted one of: {', '.join(names)}" if names else "there is none under config/models"
            raise NotFound(f"found no model {name!r}{did_you_mean(name, names)}, {there}")
        if version is None and len(versions) > 1:
            raise NotFound(f"found model {name!r} in versions {', '.join(versions)}, wanted {{name, version}}")
        if version is not None and version not in versions:
            meant = did_you_mean(version, versions)
            raise NotFound(
                f"found no version {version!r} of model {name!r}{meant}, wanted one of: {', '.join(versions)}"
            )
        return self.specs[name, versions[0] if version is None else version]

    def versions(self, name: str) -> list[str]:
        """The declared versions of *name*."""
        return [version for known, version in self.specs if known == name]


def inline_defaults(model: MapNode, pipeline: str, version: str) -> dict[str, str]:
    """The name and version of a model that is written inside a pipeline and states none.

    It is called after its artefact, so that ``models/transformer_v42.pt`` is ``transformer_v42``. An artefact that
    is called as everybody's (``model.onnx``), or that is none, gives no name: then it has the pipeline's own name
    and version.
    """
    path = model.get("path")
    stem = PurePosixPath(path.text).stem if isinstance(path, ScalarNode) and ":" not in path.text else ""
    if stem in ("", "model", "saved_model"):
        return {"name": pipeline, "version": version}
    return {"name": stem}
