"""Does every failure have its status, and does none tell too much?"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.adapters.grpc.errors import LONGEST, STATUS, text_of, trailers_of
from headrace.domain.errors import EngineError, InvalidInput, ModelFailure, NotReady, Overloaded, QuotaExceeded

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-grpc.md"


def kinds(kind: type[EngineError] = EngineError) -> Iterator[type[EngineError]]:
    for special in kind.__subclasses__():
        yield special
        yield from kinds(special)


def test_every_kind_of_error_has_a_status() -> None:
    assert {kind.code for kind in kinds()} == set(STATUS)


def test_our_own_code_and_the_request_id_travel_beside_the_status() -> None:
    assert dict(trailers_of(InvalidInput("no"), "q-1")) == {"headrace-code": "invalid_input", "x-request-id": "q-1"}


@pytest.mark.parametrize("kind", [QuotaExceeded, Overloaded, NotReady])
def test_whoever_may_come_back_is_told_when(kind: type[Overloaded]) -> None:
    assert dict(trailers_of(kind("full", retry_after_s=2.5), ""))["grpc-retry-pushback-ms"] == "2500"


def test_no_path_of_the_machine_is_told() -> None:
    assert "/srv" not in text_of(ModelFailure("broken: /srv/models/secret.bin"))


def test_a_long_message_is_cut_for_it_travels_among_the_headers() -> None:
    assert len(text_of(InvalidInput("x" * 100_000))) <= LONGEST


def test_the_page_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|$", PAGE.read_text(), re.MULTILINE)

    assert dict(rows) == {code: status.name for code, status in STATUS.items()}
