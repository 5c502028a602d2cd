"""The checker of tasks finds each thing that can be wrong, and nothing where all is well."""

import json

import pytest

from tests.chaos.resources import SeenResources, Told
from tests.chaos.tasks import SeenTasks, check_tasks

CREATED, UPDATED = "auto-r", "auto-e2"


def resources() -> SeenResources:
    """A resource that was created by the event e1 and updated by e2."""
    found = SeenResources()
    for number, topic in enumerate(("resource.created", "resource.updated"), start=1):
        found.events["r"][f"e{number}"] = Told(topic, number, "mark", b"")
    return found


def well() -> SeenTasks:
    """Both tasks done, the second one by its second attempt."""
    seen = SeenTasks()
    task(seen, CREATED, "process_new_resource")
    task(seen, UPDATED, "reprocess_resource", attempt=2)
    return seen


def task(seen: SeenTasks, id: str, action: str, *, attempt: int = 1) -> None:
    shown = {"status": "completed", "action": action, "attempt": attempt, "result": "done", "error": ""}
    seen.states[id] = {"task": shown}
    for number in range(1, attempt + 1):
        seen.told[id]["task.process"][f"{id}-{number}"] = b"{}"
    seen.told[id]["task.completed"][f"{id}-done"] = json.dumps({"result": "done"}).encode()


def found(seen: SeenTasks) -> list[tuple[str, str]]:
    return [(finding.kind, finding.text) for finding in check_tasks(resources(), seen)]


def test_nothing_is_found_where_all_is_well():
    assert [] == found(well())


def nothing_was_started(seen):
    del seen.states[UPDATED], seen.told[UPDATED]


def another_was_started(seen):
    task(seen, "auto-e3", "reprocess_resource")


def for_another_action(seen):
    seen.states[CREATED]["task"]["action"] = "cleanup_resource"


def one_was_left(seen):
    seen.states[UPDATED]["task"]["status"] = "pending"
    del seen.told[UPDATED]["task.completed"]


def it_failed(seen):
    seen.states[UPDATED]["task"]["status"] = "failed"
    seen.told[UPDATED]["task.failed"] = seen.told[UPDATED].pop("task.completed")


def nobody_was_told(seen):
    del seen.told[UPDATED]["task.completed"]


def told_twice(seen):
    seen.told[UPDATED]["task.completed"]["other"] = seen.told[UPDATED]["task.completed"][f"{UPDATED}-done"]


def told_both(seen):
    seen.told[UPDATED]["task.failed"]["other"] = b"{}"


def told_otherwise(seen):
    seen.told[UPDATED]["task.completed"][f"{UPDATED}-done"] = b'{"result": "other"}'


def queued_once_too_often(seen):
    seen.told[UPDATED]["task.process"]["other"] = b"{}"


def two_contents(seen):
    seen.faults.append("two contents for event e2")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (nothing_was_started, "lost"),
        (another_was_started, "wrong"),
        (for_another_action, "wrong"),
        (one_was_left, "unanswered"),
        (it_failed, "unanswered"),
        (nobody_was_told, "lost"),
        (told_twice, "doubled"),
        (told_both, "doubled"),
        (told_otherwise, "wrong"),
        (queued_once_too_often, "wrong"),
        (two_contents, "wrong"),
    ],
)
def test_what_is_wrong_is_found(harm, kind):
    seen = well()
    harm(seen)
    assert [kind] == [kind for kind, _ in found(seen)]
