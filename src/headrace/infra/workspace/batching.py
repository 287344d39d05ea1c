"""What is wrong with how a declared pipeline gathers its requests, and at which line?"""

from __future__ import annotations

from headrace.domain.batching import contradictions
from headrace.domain.model_call import row_specs
from headrace.domain.spec import Batching, ModelSpec, PipelineSpec
from headrace.domain.step import Specs
from headrace.infra.workspace.documents import Remarks
from headrace.infra.workspace.models import specs_of


def check_batching(spec: PipelineSpec, inputs: Specs | None, model: ModelSpec | None, remarks: Remarks) -> None:
    """Say what contradicts itself in the ``batching:`` of *spec*, and what does not fit its *inputs* or its *model*.

    Of columns that only the artefact knows nothing is said here; loading it does.
    """
    batching = spec.batching
    if not isinstance(batching, Batching):
        return
    inner = (None, None) if model is None else (specs_of(model.input_spec), specs_of(model.output_spec))
    taken, given = (None if columns is None else row_specs(columns, batched=True) for columns in inner)
    here = remarks.within("batching")
    for problem in contradictions(batching, inputs, taken, given):
        key, _, name = problem.key.partition(".")
        if name:
            here.within(key).add(getattr(batching, key), name, problem.message)
        else:
            here.add(batching, key, problem.message)
