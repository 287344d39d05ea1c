"""Steps of this workspace: every public function in steps/*.py can be named in a pipeline."""

from headrace import TensorSpec, step


@step(per="row", reads={"text": TensorSpec("string")}, writes={"greeting": TensorSpec("string")})
def greet(text: str, *, word: str = "Hello") -> str:
    """Positional parameters are columns, one row's value each; keyword-only ones are the step's `params`."""
    return f"{word}, {text}!"
