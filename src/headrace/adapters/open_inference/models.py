"""Which models does the protocol see, in which state, and how are they loaded and unloaded?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.domain.errors import InvalidRequest
from headrace.services.deployments import Deployments

EXTENSIONS: Final = ("classification", "model_repository", "parameters", "schedule_policy", "statistics")
"""What every door of the protocol announces."""

_STATES: Final[Mapping[str, str]] = {
    "loading": "LOADING",
    "ready": "READY",
    "unloaded": "UNAVAILABLE",
    "failed": "UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class Indexed:
    """One line of the repository's index."""

    name: str
    version: str
    state: str
    reason: str


def index(deployments: Deployments, *, ready_only: bool = False) -> list[Indexed]:
    """Every declared version and its state."""
    return [
        Indexed(one.ref.name, one.ref.version, _STATES[one.state], one.reason or _reason(one.state))
        for one in deployments.status()
        if one.state == "ready" or not ready_only
    ]


def _reason(state: str) -> str:
    return "unloaded" if state == "unloaded" else ""


async def load(deployments: Deployments, name: str, parameters: Mapping[str, Any]) -> None:
    """Load every version that is declared and not loaded. Raises NotFound, or what its build raises.

    Raises InvalidRequest for parameters that bring a configuration or files: what is served is what was declared.
    """
    for key in parameters:
        if key == "config" or key.startswith("file:"):
            raise InvalidRequest(
                f"parameter {key!r}: models are not uploaded; declare them in the workspace, and load them by name"
            )
    await deployments.load(name)


async def unload(deployments: Deployments, name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Take every version out of service. Raises NotFound, and InvalidRequest when others should go with it."""
    if (parameters or {}).get("unload_dependents"):
        raise InvalidRequest("parameter 'unload_dependents' is not served: unload each model by its own name")
    await deployments.unload(name)
