"""Which steps of a pipeline take the bytes of a text for its tokens, where a tokenizer was probably meant?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headrace.core.config import Mistake, Reader
from headrace.domain.errors import EngineError
from headrace.domain.spec import ModelSpec, PipelineSpec
from headrace.domain.steps import STEPS
from headrace.domain.steps.token_codecs import FILE
from headrace.infra.step_lookup import StepLookup
from headrace.infra.workspace.pipelines import place_of

_STEPS: Final = ("tokenize", "decode_tokens")


def bytes_for_tokens(
    spec: PipelineSpec, model: ModelSpec | None, root: Path, steps: StepLookup, reader: Reader
) -> Iterator[Mistake]:
    """A warning for each such step of *spec*: *model* has a folder, and no tokenizer in it.

    A model without a folder has no place for one, so nothing else can have been meant there.
    """
    folder = place_of(model, root).model_folder
    if folder is None or not folder.is_dir() or (folder / FILE).is_file():
        return
    for step in (*spec.preprocessing, *spec.postprocessing):
        if step.name in _STEPS and step.params.get("tokenizer") is None and _is_ours(step.name, steps):
            place = reader.place(step, "name")
            shown = folder.relative_to(root) if folder.is_relative_to(root) else folder
            yield Mistake(
                place.file,
                place.line,
                f"{step.name} takes the bytes of a text for its tokens, for there is no {FILE} in {shown}; "
                "put it there, or name one with params.tokenizer",
            )


def _is_ours(name: str, steps: StepLookup) -> bool:
    """Whether *name* stands for the built-in step, not for one of the workspace."""
    try:
        return steps.find(name).function is STEPS[name]
    except EngineError:
        return False
