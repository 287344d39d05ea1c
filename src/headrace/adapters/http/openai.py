"""The OpenAI-compatible calls under ``/v1``, which official clients make unchanged."""

from __future__ import annotations

from headrace.adapters.http.native import NativeCalls
from headrace.adapters.http.openai_completions import CompletionCalls
from headrace.adapters.http.openai_embeddings import EmbeddingCalls
from headrace.adapters.http.openai_models import ModelCalls


class OpenAICalls:
    """Answers what stands under ``/v1``."""

    def __init__(self, native: NativeCalls) -> None:
        self.models = ModelCalls(native)
        self.embeddings = EmbeddingCalls(native)
        self.completions = CompletionCalls(native)
