"""The checker of rows finds each thing that can be wrong, and nothing where all is well."""

import pytest

from tests.chaos.relayed import RowHistory, SeenRows, check_rows
from tests.chaos.resources import SeenResources, Told

GOOD = frozenset({"a", "b"})


def told(version: int) -> Told:
    return Told("resource.updated", version, "mark", b"")


def kinds(events, published=GOOD, parked=frozenset({"x"}), pending=frozenset()) -> list[str]:
    """The findings where a resource has these events, by the ids of rows, and rows are so marked."""
    history = RowHistory(undone={"u"}, bad={"x"})
    history.committed["r"] = ["a", "b"]
    seen = SeenResources()
    seen.events["r"] = {id: told(version) for id, version in events.items()}
    rows = SeenRows(frozenset(published), frozenset(parked), frozenset(pending))
    return [finding.kind for finding in check_rows(history, rows, seen)]


def test_nothing_is_found_where_all_is_well():
    assert [] == kinds({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("events", "rows", "kind"),
    [
        pytest.param({"a": 1}, {}, "lost", id="no event"),
        pytest.param({"a": 2, "b": 1}, {}, "disordered", id="another order"),
        pytest.param({"a": 1, "b": 2, "u": 3}, {}, "wrong", id="rolled back"),
        pytest.param({"a": 1, "b": 2, "z": 3}, {}, "wrong", id="committed by nobody"),
        pytest.param({"a": 1, "b": 2}, {"published": {"a"}, "pending": {"b"}}, "unanswered", id="pending"),
        pytest.param({"a": 1, "b": 2}, {"published": {"a"}, "parked": {"b", "x"}}, "wrong", id="parked"),
        pytest.param({"a": 1, "b": 2}, {"published": {"a", "b", "x"}, "parked": ()}, "wrong", id="published"),
        pytest.param({"a": 1, "b": 2}, {"published": {"a", "b", "z"}}, "wrong", id="a strange row"),
        pytest.param({"a": 1, "b": 2}, {"published": {"a"}}, "lost", id="a row is gone"),
    ],
)
def test_what_is_wrong_is_found(events, rows, kind):
    assert [kind] == kinds(events, **rows)
