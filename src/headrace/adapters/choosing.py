"""Which loaded pipeline answers a request, and what is told of one that is declared and not loaded?"""

from __future__ import annotations

from headrace.domain.errors import NotFound, NotReady
from headrace.domain.routing import Asked
from headrace.services.choice import Choice
from headrace.services.deployments import Deployments
from headrace.services.inference import Inference


def chosen(inference: Inference, deployments: Deployments, asked: Asked) -> Choice:
    """Which pipeline answers *asked*. Raises NotFound, or NotReady for one that is declared and not loaded."""
    try:
        return inference.choose(asked)
    except NotFound as error:
        raise _unloaded(deployments, asked) or error from None


def _unloaded(deployments: Deployments, asked: Asked) -> NotReady | None:
    """NotReady for a pipeline that is declared and does not answer."""
    try:
        found = deployments.find(asked.name)
    except NotFound:
        return None
    states = [f"{one.ref} is {one.state}" for one in found if asked.version in (None, one.ref.version)]
    return NotReady(f"pipeline {asked.name!r} does not answer: {', '.join(states)}") if states else None
