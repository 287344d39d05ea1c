"""What does a whole workspace declare, and everything that is wrong with it?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from headrace.core.config import MapNode, Mistake, Place, Reader, ScalarNode, did_you_mean
from headrace.domain.ports import Declared
from headrace.domain.registry import PipelineRef
from headrace.domain.spec import ModelSpec, ModelUse, PipelineSpec, RouteSpec, StreamSpec
from headrace.domain.tensors import TensorSpec
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.documents import Document, Remarks, files_in, read_documents, read_mappings
from headrace.infra.workspace.model_index import ModelIndex, inline_defaults
from headrace.infra.workspace.models import ModelCheck
from headrace.infra.workspace.pipelines import PipelineCheck
from headrace.infra.workspace.routes import RouteCheck
from headrace.infra.workspace.streams import StreamCheck, check_topics
from headrace.infra.workspace.tokenizers import bytes_for_tokens

FOLDERS: Final = ("models", "pipelines", "routes", "databases", "streams", "schedules")
"""What may stand under config/."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a workspace (absolute paths), and what holds where nothing is said.

    *main_file* is where the rest of it was read from; *workers* processes serve it.
    """

    root: Path
    models_directory: Path
    pipelines_directory: Path
    default_adapter: str
    default_pipeline: str | None
    main_file: Path
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Survey:
    """A workspace as it was read: *declared* can be used only if there are no *mistakes*.

    *origins* tell where each pipeline and model is written.
    """

    declared: Declared = field(default_factory=Declared)
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    origins: Mapping[PipelineRef, Remarks] = field(default_factory=dict)
    model_origins: Mapping[tuple[str, str], Remarks] = field(default_factory=dict)


def survey(layout: Layout, steps: StepLookup, environment: Mapping[str, str] | None = None) -> Survey:
    """Read and check every file of the workspace; models are not loaded. Raises nothing."""
    steps.refresh()
    return _Surveyor(layout, steps, Reader(layout.root, environment)).survey()


class _Surveyor:
    """Carries what is found from one folder to the next."""

    def __init__(self, layout: Layout, steps: StepLookup, reader: Reader) -> None:
        self._layout = layout
        self._config = layout.root / "config"
        self._steps = steps
        self._reader = reader
        self._lost: list[str] = []
        self._origins: dict[PipelineRef, Remarks] = {}
        self._model_origins: dict[tuple[str, str], Remarks] = {}
        self._warnings: list[Mistake] = []

    def survey(self) -> Survey:
        databases = read_mappings(self._reader, self._config / "databases")
        read_mappings(self._reader, self._config / "schedules")
        for broken in self._steps.broken:
            self._reader.mistake(Place(broken.file.relative_to(self._layout.root), broken.line), broken.message)
        models = self._models()
        written = self._pipelines(models)
        check = PipelineCheck(self._layout.root, self._steps, models, databases)
        inputs = {ref: check.look(document.spec, self._origins[ref]) for ref, document in written.items()}
        pipelines = {ref: _settled(document.spec, models, self._reader) for ref, document in written.items()}
        bare = {spec_ref(spec): spec for spec in self._bare(models, pipelines.values())}
        aliases = _aliases(written.values(), models, {ref.name for ref in (*pipelines, *bare)})
        routes = tuple(self._routes({**inputs, **dict.fromkeys(bare)}, aliases))
        everything = {**pipelines, **bare}
        default = self._default(everything, aliases)
        self._unused(models, written.values())
        for spec in pipelines.values():
            use = spec.model if isinstance(spec.model, ModelUse) else ModelUse("")
            model = models.specs.get((use.name, use.version or ""))
            self._warnings += bytes_for_tokens(spec, model, self._layout.root, self._steps, self._reader)
        streams = self._streams(StreamCheck(everything, aliases, routes, self._lost, self._layout.workers))
        declared = Declared(
            pipelines=everything,
            models=dict(models.specs),
            routes=routes,
            streams=streams,
            aliases=aliases,
            default=default,
        )
        mistakes = sorted(self._reader.mistakes, key=_by_place)
        warnings = sorted(self._warnings, key=_by_place)
        return Survey(declared, tuple(mistakes), tuple(warnings), self._origins, self._model_origins)

    def _models(self) -> ModelIndex:
        folder = self._config / "models"
        documents, lost = read_documents(self._reader, folder, ModelSpec, lambda _, stem: {"name": stem})
        documents = [replace(found, spec=self._with_type(found.spec, found)) for found in documents]
        check = ModelCheck(self._layout.root, self._layout.models_directory)
        for document in documents:
            remarks = Remarks(self._reader, document)
            check.look(document.spec, remarks)
            key = (document.spec.name, document.spec.version)
            self._once(document, key, self._model_origins, remarks)
        return ModelIndex(documents, lost)

    def _with_type(self, spec: ModelSpec, document: Document[Any]) -> ModelSpec:
        """*spec* with the type that is the default; not where a type that was written may have been left out."""
        if spec.type or not document.whole:
            return spec
        return self._reader.adopt(replace(spec, type=self._layout.default_adapter), spec)

    def _pipelines(self, models: ModelIndex) -> dict[PipelineRef, Document[PipelineSpec]]:
        folder = self._layout.pipelines_directory
        documents, self._lost = read_documents(self._reader, folder, PipelineSpec, _pipeline_defaults, under="pipeline")
        written: dict[PipelineRef, Document[PipelineSpec]] = {}
        for found in documents:
            document = self._with_inline_model(found, models)
            remarks = Remarks(self._reader, document)
            if self._once(document, spec_ref(document.spec), self._origins, remarks):
                written[spec_ref(document.spec)] = document
        return written

    def _with_inline_model(self, document: Document[PipelineSpec], models: ModelIndex) -> Document[PipelineSpec]:
        spec = document.spec
        if not isinstance(spec.model, ModelSpec):
            return document
        model = self._with_type(spec.model, document)
        spec = self._reader.adopt(replace(spec, model=model), spec)
        document = replace(document, spec=spec)
        remarks = Remarks(self._reader, document, ("model",))
        ModelCheck(self._layout.root, self._layout.models_directory).look(model, remarks)
        if not models.add(model):
            found = f"found another model {model.name!r} of version {model.version!r}; give this one another name"
            remarks.add(model, "name", found)
        self._model_origins.setdefault((model.name, model.version), remarks)
        return document

    def _once(self, document: Document[Any], key: Any, origins: dict[Any, Remarks], remarks: Remarks) -> bool:
        """Remember where *key* is written; False, and a mistake, if it is written elsewhere already."""
        first = origins.setdefault(key, remarks)
        if first is remarks:
            return True
        spec = document.spec
        found = f"found {spec.name!r} of version {spec.version!r} again (first in {first.document.file})"
        remarks.add(spec, "name", f"{found}: give one another version")
        return False

    def _bare(self, models: ModelIndex, pipelines: Iterable[PipelineSpec]) -> Iterator[PipelineSpec]:
        """The models of config/models that no pipeline is named after, each as a pipeline without steps.

        Whether a model has a batch axis is known from the pipelines that use it: ``batching: false`` says of the
        model that it has none. Alone, it is taken to have one.
        """
        named = {spec.name for spec in pipelines} | set(self._lost)
        for key, remarks in self._model_origins.items():
            model = models.specs[key]
            uses = [spec for spec in pipelines if spec.model == ModelUse(*key)]
            axis = {spec.batched for spec in uses}
            if len(axis) > 1:
                names = ", ".join(sorted(spec.name for spec in uses))
                self._warn(
                    remarks.document.file, f"pipelines disagree whether model {model.name!r} has a batch axis: {names}"
                )
            if model.name not in named and not remarks.prefix:
                spec = PipelineSpec(name=model.name, version=model.version, model=ModelUse(*key))
                self._origins[spec_ref(spec)] = remarks
                yield replace(spec, batching=False) if axis == {False} else spec

    def _routes(
        self, inputs: Mapping[PipelineRef, Mapping[str, TensorSpec] | None], aliases: Mapping[str, str]
    ) -> Iterator[RouteSpec]:
        documents, _ = read_documents(self._reader, self._config / "routes", RouteSpec, lambda _, stem: {"name": stem})
        check = RouteCheck(inputs, aliases, self._lost)
        seen: dict[str, Path] = {}
        for document in documents:
            remarks = Remarks(self._reader, document)
            route = check.look(document.spec, remarks)
            first = seen.setdefault(route.name, document.file)
            if first is document.file:
                yield route
            else:
                remarks.add(document.spec, "name", f"found a second route of {route.name!r} (first in {first})")

    def _streams(self, check: StreamCheck) -> tuple[StreamSpec, ...]:
        documents, _ = read_documents(
            self._reader, self._config / "streams", StreamSpec, lambda _, stem: {"name": stem}
        )
        streams: dict[str, tuple[StreamSpec, Remarks]] = {}
        for document in documents:
            remarks = Remarks(self._reader, document)
            check.look(document.spec, remarks)
            first = streams.setdefault(document.spec.name, (document.spec, remarks))[1]
            if first is not remarks:
                found = f"found a second stream {document.spec.name!r} (first in {first.document.file})"
                remarks.add(document.spec, "name", found)
        check_topics(list(streams.values()))
        return tuple(spec for spec, _ in streams.values())

    def _default(self, pipelines: Iterable[PipelineRef], aliases: Mapping[str, str]) -> str | None:
        wanted = self._layout.default_pipeline
        if wanted is None:
            return None
        names = sorted({ref.name for ref in pipelines})
        name = aliases.get(wanted, wanted)
        if name not in names and name not in self._lost:
            known = [*names, *aliases]
            there = ", ".join(known) or "none"
            found = f"found no pipeline {wanted!r}{did_you_mean(wanted, known)}, wanted one of: {there}"
            self._reader.mistake(_default_place(self._layout), found, "pipelines.default")
        return name

    def _unused(self, models: ModelIndex, pipelines: Iterable[Document[PipelineSpec]]) -> None:
        """Warn of what lies there and does nothing."""
        check = ModelCheck(self._layout.root, self._layout.models_directory)
        for file in check.unused(models):
            self._warn(file, "no model uses this file")
        named = {step.name for found in pipelines for step in (*found.spec.preprocessing, *found.spec.postprocessing)}
        for file, functions in self._steps.files.items():
            if functions and not named & {*functions, *(f"{file.stem}.{function}" for function in functions)}:
                self._warn(file.relative_to(self._layout.root), "no pipeline uses a function of this file")
        for folder in sorted(self._config.iterdir()) if self._config.is_dir() else ():
            if folder.is_dir() and not folder.name.startswith((".", "_")):
                self._look_around(folder)

    def _look_around(self, folder: Path) -> None:
        shown = folder.relative_to(self._layout.root)
        known = folder.name in FOLDERS or folder == self._layout.pipelines_directory
        if not known:
            meant = did_you_mean(folder.name, FOLDERS)
            self._warn(shown, f"nothing reads this folder{meant}; there are: {', '.join(FOLDERS)}")
            return
        for path in files_in(folder)[1]:
            self._warn(path.relative_to(self._layout.root), "nothing reads this; a file here ends in .yaml")

    def _warn(self, file: Path, message: str) -> None:
        self._warnings.append(Mistake(file, 0, message))


def spec_ref(spec: PipelineSpec) -> PipelineRef:
    """The identity of a declared pipeline."""
    return PipelineRef(spec.name, spec.version)


def _pipeline_defaults(node: MapNode, stem: str) -> dict[str, Any]:
    name, version = (_text(node, "name") or stem, _text(node, "version") or "1")
    model = node.get("model")
    inline = inline_defaults(model, name, version) if isinstance(model, MapNode) else {}
    return {"name": stem, **{f"model.{key}": value for key, value in inline.items()}}


def _text(node: MapNode, key: str) -> str:
    value = node.get(key)
    return value.text if isinstance(value, ScalarNode) else ""


def _settled(spec: PipelineSpec, models: ModelIndex, reader: Reader) -> PipelineSpec:
    """*spec* with the name and version of its model in place of an alias, an open version or the model itself."""
    if isinstance(spec.model, ModelSpec):
        return reader.adopt(replace(spec, model=ModelUse(spec.model.name, spec.model.version)), spec)
    use = ModelUse(spec.model) if isinstance(spec.model, str) else spec.model
    name = models.aliases.get(use.name, use.name)
    versions = models.versions(name)
    version = versions[0] if use.version is None and versions else use.version
    return reader.adopt(replace(spec, model=ModelUse(name, version)), spec)


def _aliases(pipelines: Iterable[Document[PipelineSpec]], models: ModelIndex, names: set[str]) -> dict[str, str]:
    """The files' stems by which pipelines go too; a pipeline's own name is never an alias of another."""
    bare = {stem: name for stem, name in models.aliases.items() if name in names}
    written = {document.stem: document.spec.name for document in pipelines}
    return {stem: name for stem, name in {**bare, **written}.items() if stem not in names}


def _default_place(layout: Layout) -> Place:
    """The line of ``pipelines.default``; read by itself, for its own mistakes are reported by who owns that file."""
    node = Reader(layout.root).document(layout.main_file) if layout.main_file.is_file() else None
    file = layout.main_file
    place = Place(file.relative_to(layout.root) if file.is_relative_to(layout.root) else file, 0)
    for key in ("pipelines", "default"):
        if not isinstance(node, MapNode) or key not in node:
            break
        place, node = node.entries[key].place, node.entries[key].value
    return place


def _by_place(mistake: Mistake) -> tuple[str, int, str]:
    return str(mistake.file), mistake.line, mistake.key
