"""The checker of recorded events finds each thing that can be wrong, and nothing where all is well."""

import pytest

from tests.chaos.recorded import Recorded, SeenRecords, check_recorded

FIRST = Recorded("resource.created", {"id": "r"}, "trace")
SECOND = Recorded("task.process", {"task_id": "t"}, None)


def well() -> SeenRecords:
    return SeenRecords({"e1": FIRST, "e2": SECOND}, [("e1", FIRST), ("e2", SECOND)])


def kinds(seen: SeenRecords) -> list[str]:
    return [finding.kind for finding in check_recorded(seen)]


def test_nothing_is_found_where_all_is_well():
    assert [] == kinds(well())


def without_a_row(seen):
    del seen.rows[0]


def with_two_rows(seen):
    seen.rows.append(("e1", FIRST))


def with_another_payload(seen):
    seen.rows[0] = ("e1", FIRST._replace(payload={"id": "s"}))


def with_another_type(seen):
    seen.rows[0] = ("e1", FIRST._replace(event_type="resource.updated"))


def with_another_trace(seen):
    seen.rows[1] = ("e2", SECOND._replace(trace_id="trace"))


def with_a_row_that_nobody_announced(seen):
    seen.rows.append(("e3", FIRST))


def with_two_contents(seen):
    seen.faults.append("two contents for event e1")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (without_a_row, "lost"),
        (with_two_rows, "doubled"),
        (with_another_payload, "wrong"),
        (with_another_type, "wrong"),
        (with_another_trace, "wrong"),
        (with_a_row_that_nobody_announced, "wrong"),
        (with_two_contents, "wrong"),
    ],
)
def test_what_is_wrong_is_found(harm, kind):
    seen = well()
    harm(seen)
    assert [kind] == kinds(seen)
