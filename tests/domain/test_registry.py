"""What is loaded, and that nothing in use is taken away."""

from dataclasses import dataclass

import pytest

from headrace.domain.errors import AmbiguousVersion, Conflict, NotFound
from headrace.domain.registry import PipelineRef, Registry


@dataclass
class Thing:
    ref: PipelineRef
    made: int = 0


A1, A2, B1 = PipelineRef("a", "1"), PipelineRef("a", "2"), PipelineRef("b", "1")


def registry(*refs: PipelineRef) -> Registry[Thing]:
    filled: Registry[Thing] = Registry()
    for ref in refs:
        filled.add(Thing(ref))
    return filled


def test_what_is_not_there_is_answered_with_what_is() -> None:
    with pytest.raises(NotFound, match="no pipeline 'c'; loaded: a@1, b@1"):
        registry(B1, A1).get(PipelineRef("c", "1"))
    with pytest.raises(NotFound, match="'a' has no version '3'; loaded: 1, 2"):
        registry(A1, A2).get(PipelineRef("a", "3"))
    with pytest.raises(NotFound, match="loaded: none"):
        registry().only("a")


def test_a_bare_name_needs_exactly_one_version() -> None:
    assert registry(A1, B1).only("a") == A1
    with pytest.raises(AmbiguousVersion) as error:
        registry(A1, A2).only("a")
    assert error.value.details == {"versions": ["1", "2"]}


def test_a_reference_is_taken_once() -> None:
    with pytest.raises(Conflict):
        registry(A1).add(Thing(A1))


def test_a_swap_retires_the_old_one_when_its_last_user_leaves() -> None:
    things, gone = registry(A1), []
    with things.use(A1) as old, things.use(A1):
        things.swap(Thing(A1, made=1), gone.append)
        with things.use(A1) as new:
            assert (old.made, new.made) == (0, 1)
        assert gone == []

    assert [thing.made for thing in gone] == [0]
    assert things.get(A1).made == 1


def test_a_removal_retires_at_once_what_nobody_uses_and_only_once() -> None:
    things, gone = registry(A1), []
    lease = things.lease(A1)

    things.remove(A1, gone.append)
    lease.take()
    lease.give()

    assert len(gone) == 1
    assert A1 not in things
    with pytest.raises(NotFound):
        things.remove(A1, gone.append)


def test_a_user_who_fails_still_lets_go() -> None:
    things, gone = registry(A1), []
    with pytest.raises(ZeroDivisionError), things.use(A1):
        things.remove(A1, gone.append)
        raise ZeroDivisionError

    assert len(gone) == 1
