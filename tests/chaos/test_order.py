"""The checker of order finds every history that no order explains, and none that one does.

One cluster, created at second 0, with three updates that each took from their second to half a second later.
"""

from dataclasses import replace

import pytest

from tests.chaos.history import Attempt, History, Read
from tests.chaos.observe import EventFact
from tests.chaos.order import disorders

CLUSTER = "00000000-0000-4000-8000-000000000001"


def write(mark: str, at: float, generation: int, **members: object) -> Attempt:
    return Attempt(
        **{
            "mark": mark,
            "kind": "create" if generation == 1 else "update",
            "client": "client",
            "cluster_id": CLUSTER,
            "started": at,
            "ended": at + 0.5,
            "status": 200,
            "generation": generation,
            "resource_version": f"v{generation}",
            "web": 0,
            **members,
        }
    )


def event(mark: str, generation: int) -> EventFact:
    kind = "cluster.created" if generation == 1 else "cluster.updated"
    return EventFact(f"e{generation}", kind, CLUSTER, generation, f"v{generation}", mark, b"")


def read(at: float, generation: int, **members: object) -> Read:
    shown = {
        "client": "client",
        "web": 0,
        "cluster_id": CLUSTER,
        "started": at,
        "ended": at + 0.1,
        "status": 200,
        "generation": generation,
        "resource_version": f"v{generation}",
        "mark": f"m{generation}",
    }
    return Read(**{**shown, **members})


def a_history(*more: Attempt, reads: tuple[Read, ...] = ()) -> History:
    writes = [write(f"m{generation}", generation - 1.0, generation) for generation in (1, 2, 3)]
    return History(attempts=[*writes, *more], reads=list(reads))


def events() -> list[EventFact]:
    return [event(f"m{generation}", generation) for generation in (1, 2, 3)]


DELETED = replace(write("d", 4.0, 0), kind="delete", generation=None)
CONFLICT = {"status": 409, "code": "GENERATION_CONFLICT"}


@pytest.mark.parametrize(
    ("attempts", "reads"),
    [
        pytest.param([], [read(0.6, 1), read(1.6, 2), read(9.0, 3)], id="reads that follow the writes"),
        pytest.param([], [read(1.2, 1), read(1.4, 2)], id="reads while a write is under way"),
        pytest.param([], [read(0.6, 1), read(9.0, 2, web=1)], id="another web process is behind"),
        pytest.param([], [read(0.6, 0, status=404, web=1)], id="another web process does not show it yet"),
        pytest.param(
            [DELETED], [read(4.2, 3), read(4.3, 0, status=404), read(9.0, 0, status=404)], id="a deletion"
        ),
        pytest.param(
            [write("c", 2.6, 0, expected_version="v2", **CONFLICT)], [], id="a conflict that was one"
        ),
        pytest.param(
            [write("c", 1.9, 0, expected_version="v2", ended=2.1, **CONFLICT)],
            [],
            id="a conflict with a write under way",
        ),
        pytest.param(
            [write("c", 9.0, 0, expected_version="outdated", **CONFLICT)], [], id="a version that never was"
        ),
    ],
)
def test_nothing_is_found_in_a_history_that_has_an_order(attempts: list[Attempt], reads: list[Read]) -> None:
    assert disorders(a_history(*attempts, reads=tuple(reads)), events()) == []


def test_a_write_of_unknown_outcome_may_take_effect_at_any_time_after_its_beginning() -> None:
    # given a write that was never answered, and took effect after one that began and ended later
    late = write("late", 2.6, 5, status=503)
    soon = write("soon", 3.6, 4)

    assert disorders(a_history(late, soon), [*events(), event("soon", 4), event("late", 5)]) == []


def test_a_retry_under_the_same_key_is_the_same_write_since_its_first_attempt() -> None:
    # given a write whose first attempt took effect, and whose retry was answered after a later write was
    first = write("keyed", 2.6, 4, status=503)
    later = write("m5", 3.6, 5)
    retry = write("keyed", 5.0, 5, repeat=True)

    assert disorders(a_history(first, later, retry), [*events(), event("keyed", 4), event("m5", 5)]) == []


@pytest.mark.parametrize(
    ("attempts", "more", "says"),
    [
        pytest.param(
            [write("early", 2.6, 5), write("later", 3.6, 4)],
            [event("later", 4), event("early", 5)],
            "before",
            id="a later write has the lower generation",
        ),
        pytest.param(
            [write("c", 3.0, 4, expected_version="v2")],
            [event("c", 4)],
            "was accepted on generation 2",
            id="accepted on a version that was not the last",
        ),
        pytest.param(
            [write("c", 3.0, 0, expected_version="v3", **CONFLICT)],
            [],
            "nothing had followed",
            id="refused on the version that was the last",
        ),
        pytest.param(
            [write("c", 1.0, 0, expected_version="v2", ended=1.9, **CONFLICT)],
            [],
            "nothing had followed",
            id="refused for a write that had not begun",
        ),
    ],
)
def test_writes_without_an_order_are_found(attempts: list[Attempt], more: list[EventFact], says: str) -> None:
    found = disorders(a_history(*attempts), [*events(), *more])

    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    ("reads", "says"),
    [
        pytest.param([read(3.0, 2)], "went back", id="less than was confirmed here"),
        pytest.param([read(2.2, 3), read(2.4, 2)], "went back", id="less than was shown here"),
        pytest.param([read(3.0, 0, status=404)], "went back", id="nothing, and nobody deleted it"),
        pytest.param([read(1.0, 3)], "began later", id="something from the future"),
        pytest.param([read(3.0, 3, mark="other")], "never was", id="another content"),
        pytest.param([read(3.0, 9)], "never was", id="a generation that nobody wrote"),
    ],
)
def test_reads_that_show_what_they_must_not_are_found(reads: list[Read], says: str) -> None:
    found = disorders(a_history(reads=tuple(reads)), events())

    assert any(says in text for text in found)


def test_a_cluster_that_is_shown_after_its_deletion_was_confirmed_is_found() -> None:
    found = disorders(a_history(DELETED, reads=(read(9.0, 3),)), events())

    assert len(found) == 1
    assert "it had shown that it was deleted" in found[0]
