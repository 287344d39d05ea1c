"""Steps of this workspace: every public function in steps/*.py can be named in a pipeline."""

from headrace.domain.step import step
from headrace.domain.tensors import TEXT


@step(per="row", reads={"text": TEXT}, writes={"greeting": TEXT})
def greet(text: str, *, word: str = "Hello") -> str:
    """Positional parameters are columns, one row's value each; keyword-only ones are the step's `params`."""
    return f"{word}, {text}!"
