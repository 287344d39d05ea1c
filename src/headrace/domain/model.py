"""What a trained model is to the engine: columns in, columns of the same length out, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from headrace.domain.tensors import Column, TensorSpec


class ModelAdapter(ABC):
    """Pure inference behind four methods; one of the two published extension points.

    An adapter knows columns. It does not know where they come from or where they go.
    """

    concurrent: ClassVar[bool] = False
    """Whether several threads may be inside `predict` of one object at the same time."""

    pure: ClassVar[bool] = False
    """Whether `predict` leaves its inputs as they were; if not, it gets copies where a retry might follow."""

    device: str = "cpu"
    """Where it runs, once it is loaded: ``cpu``, ``cuda``, ``cuda:1`` ..; what a second costs there may differ."""

    loaded_bytes: int = 0
    """How much more memory this process took when it had loaded the model; set by whoever calls `load`."""

    own_processes: int = 0
    """How many processes of its own the model has; with any, `predict` waits for one of them and must not be called
    on the event loop."""

    @abstractmethod
    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Bring the artefact at *model_path* into memory.

        *config* is the model's file under config/models as plain data, with ``device`` and ``threads`` resolved.
        Raises InvalidConfig when the artefact cannot be served.
        """

    @abstractmethod
    def predict(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """Run one batch: columns named as in `get_input_spec` in, those of `get_output_spec` out.

        Every output has as many rows (axis 0) as the inputs. For a model without a batch axis each column is the
        whole tensor. Raises InvalidInput for values that the model refuses; anything else that it raises becomes
        a ModelFailure.
        """

    @abstractmethod
    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that `predict` wants; valid after `load`."""

    @abstractmethod
    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that `predict` returns; valid after `load`."""

    def close(self) -> None:
        """Give back what `load` took. Called once, after the last `predict`."""

    def memory_bytes(self) -> int:
        """Bytes of memory that it takes, as far as that can be told."""
        return self.loaded_bytes

    def restarts(self) -> Mapping[str, int]:
        """How often a process of its own had to be started again, by the kind of its cause."""
        return {}

    def describe(self) -> Mapping[str, Any]:
        """Facts worth showing beside the model (platform, providers, warnings), as JSON-compatible data."""
        return {}


class RemoteModel(ABC):
    """The same for a model that lives elsewhere: `predict` is awaited on the loop and knows its deadline."""

    device: str = "remote"

    @abstractmethod
    def load(self, model_path: str, config: Mapping[str, Any]) -> None:
        """Prepare the client; opens no connection that it cannot open again."""

    @abstractmethod
    async def predict(self, inputs: Mapping[str, Column], deadline: float | None) -> Mapping[str, Column]:
        """As `ModelAdapter.predict`; *deadline* is in seconds of the monotonic clock."""

    @abstractmethod
    def get_input_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that `predict` wants; valid after `load`."""

    @abstractmethod
    def get_output_spec(self) -> Mapping[str, TensorSpec]:
        """The columns that `predict` returns; valid after `load`."""

    def close(self) -> None:
        """Close the client."""

    def describe(self) -> Mapping[str, Any]:
        """Facts worth showing beside the model, as JSON-compatible data."""
        return {}


@runtime_checkable
class GenerativeModel(Protocol):
    """What a model adds that can answer in chunks."""

    def generate(
        self, inputs: Mapping[str, Column], deadline: float | None
    ) -> Iterator[Mapping[str, Column]] | AsyncIterator[Mapping[str, Column]]:
        """Yield chunks for a batch of one row; each chunk holds one row per output column."""


@runtime_checkable
class ConsiderateModel(Protocol):
    """What a model adds that can leave processors to others."""

    def predict_beside(self, inputs: Mapping[str, Column]) -> Mapping[str, Column]:
        """As `predict`, for a batch that runs beside others: it may take longer, and all together less."""


Model = ModelAdapter | RemoteModel
