"""Contract sections 2.4 and 4: creates, updates, deletes, manual reconciles, and controllers' reports."""

from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.decide import decide_report, evolve
from domain.cluster.events import Created, Deleted, Ignored, Reconciled, Reported, Updated
from domain.cluster.names import NameRecord, admit, name_key, releases
from domain.entity import REMEMBERED_COMMANDS, Outcome
from domain.ids import NAMESPACE, deterministic_id
from domain.offsets import Seen
from domain.policy import Policy
from domain.values import replace
from tests.domain.given import (
    CLUSTER_ID,
    CONTROLLER,
    GCP,
    OWNER,
    POLICY,
    STRANGER,
    T0,
    Refused,
    after,
    available,
    create,
    delete,
    reconcile,
    says,
    step,
    story,
    update,
    uuid,
)
from tests.domain.given import decided as decided_at

BORN = story((create(), T0))
READY = story((create(), T0), (says(ready=True), after(seconds=1)))
PROGRESSING = story((create(), T0), (says(ready=False), after(seconds=1)))
FAILED = story((create(), T0), (says(failing="Fatal"), after(seconds=1)))
UPDATED_AFTER_READY = story(
    (create(), T0), (says(ready=True), after(seconds=1)), (update(), after(seconds=2))
)
GUESSED = story((create(), T0), (says(generation=5), after(seconds=1)))
DELETED = story((create(), T0), (delete(), after(seconds=1)))

NOT_FOUND = Refused(code="RESOURCE_NOT_FOUND", error="Cluster not found")


def decided(record, command, at=None):
    return decided_at(record, command, at=at or after(minutes=1))


# --- create -------------------------------------------------------------------------------------------


def test_a_create_makes_generation_1_with_its_owner_and_times():
    cluster = story((create(by=STRANGER, name="a-1", target_project_id="p"), T0)).cluster
    assert (1, "a-1", STRANGER, "p") == (
        cluster.generation,
        cluster.name,
        cluster.created_by,
        cluster.target_project_id,
    )
    assert (T0, T0, CLUSTER_ID) == (cluster.created_at, cluster.updated_at, cluster.id)


def test_a_second_create_with_the_same_id_is_refused():
    assert decided(BORN, create(9)).code == "RESOURCE_CONFLICT"


@given(st.lists(st.text() | st.integers() | st.none() | st.datetimes()))
def test_an_id_is_the_uuid5_of_its_words(words):
    name = "".join(f"{len(str(word))}:{word}" for word in words)
    assert str(uuid5(UUID(NAMESPACE), name)) == deterministic_id(*words)


@pytest.mark.parametrize("record", [BORN, DELETED], ids=["live", "deleted"])
def test_an_id_is_taken_for_good(record):
    assert decided(record, create(9, name="other")).code == "RESOURCE_CONFLICT"


# --- generations --------------------------------------------------------------------------------------


def test_each_update_is_exactly_one_generation_an_identical_spec_included():
    record = BORN
    for number in range(2, 6):
        record, _ = step(record, update(number, spec=GCP), after(seconds=number))
        assert number == record.cluster.generation


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(says(ready=True), id="a report"),
        pytest.param(says(generation=9), id="a report from the future"),
        pytest.param(None, id="a tick"),
        pytest.param(reconcile(), id="a manual reconcile"),
        pytest.param(delete(force=True), id="a delete"),
        pytest.param(update(expected_generation=7), id="a refused update"),
        pytest.param(update(by=STRANGER), id="a stranger's update"),
    ],
)
def test_a_generation_is_not_changed_by(what):
    record, _ = step(READY, what, after(minutes=5))
    assert record.cluster.generation == 1


def test_each_user_write_gives_a_new_resource_version():
    record, versions = BORN, {BORN.cluster.resource_version}
    for number in range(2, 5):
        record, _ = step(record, update(number), after(seconds=number))
        versions.add(record.cluster.resource_version)
    assert len(versions) == 4


def test_an_update_replaces_the_whole_spec():
    first = story((create(spec={**GCP, "custom": {"a": 1}}), T0))
    record, _ = step(first, update(spec={"platform": {"type": "aws"}}), after(seconds=1))
    assert {"platform": {"type": "aws"}} == record.cluster.spec


def test_updated_at_moves_on_create_update_and_delete_only():
    record, seen = BORN, []
    for second, what in enumerate(
        (says(ready=True), None, update(), says(generation=2), reconcile(), delete(force=True)), 1
    ):
        record, _ = step(record, what, after(seconds=second))
        seen.append(record.cluster.updated_at)
    assert [T0, T0, after(seconds=3), after(seconds=3), after(seconds=3), after(seconds=6)] == seen


# --- preconditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({"expected_generation": 2}, id="another generation"),
        pytest.param({"expected_resource_version": "nonsense"}, id="another version"),
        pytest.param({"expected_resource_version": ""}, id="an empty version"),
        pytest.param(
            {"expected_generation": 1, "expected_resource_version": "nonsense"},
            id="right generation, wrong version",
        ),
        pytest.param(
            {"expected_generation": 9, "expected_resource_version": BORN.cluster.resource_version},
            id="right version, wrong generation",
        ),
    ],
)
def test_a_failed_precondition_changes_nothing_and_says_what_is_current(expected):
    record, (event,) = step(BORN, update(**expected), after(seconds=1))
    assert event.code == "GENERATION_CONFLICT"
    assert {"generation": 1, "resource_version": BORN.cluster.resource_version} == event.details
    assert BORN == record


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param({"expected_generation": 1}, id="this generation"),
        pytest.param({"expected_resource_version": BORN.cluster.resource_version}, id="this version"),
        pytest.param({}, id="no expectation"),
    ],
)
def test_a_held_precondition_lets_the_update_through(expected):
    assert isinstance(decided(BORN, update(**expected)), Updated)


# --- visibility and order of checks -------------------------------------------------------------------


@pytest.mark.parametrize("command", [update, delete, reconcile], ids=lambda c: c.__name__)
@pytest.mark.parametrize(
    ("record", "by", "found"),
    [
        pytest.param(FAILED, OWNER, True, id="owner"),
        pytest.param(FAILED, CONTROLLER, True, id="privileged"),
        pytest.param(FAILED, STRANGER, False, id="stranger"),
        pytest.param(FAILED, "Owner@example.com", False, id="owner in another case"),
        pytest.param(FAILED, "dns@sub.system.local", False, id="a domain below the privileged one"),
        pytest.param(FAILED, "dns@SYSTEM.LOCAL", False, id="the privileged domain in another case"),
        pytest.param(FAILED, "dns@evil-system.local", False, id="a domain that ends alike"),
        pytest.param(DELETED, OWNER, False, id="deleted"),
        pytest.param(None, CONTROLLER, False, id="absent"),
    ],
)
def test_who_may_write(record, by, found, command):
    event = decided(record, command(by=by))
    assert found == (event != NOT_FOUND)


def test_a_stranger_learns_nothing_from_an_invalid_spec():
    assert NOT_FOUND == decided(BORN, update(by=STRANGER, spec={}))


def test_an_invalid_spec_is_told_before_a_failed_precondition():
    assert decided(BORN, update(spec={}, expected_generation=7)).code == "INVALID_SPEC"


# --- delete -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "force", "code"),
    [
        pytest.param(BORN, False, None, id="pending and never reported: goes"),
        pytest.param(FAILED, False, None, id="failed: goes"),
        pytest.param(READY, False, "CLUSTER_NOT_DELETABLE", id="ready: stays"),
        pytest.param(PROGRESSING, False, "CLUSTER_NOT_DELETABLE", id="progressing: stays"),
        pytest.param(UPDATED_AFTER_READY, False, "CLUSTER_NOT_DELETABLE", id="pending by an update: stays"),
        pytest.param(GUESSED, False, "CLUSTER_NOT_DELETABLE", id="pending with any report: stays"),
        pytest.param(READY, True, None, id="ready by force: goes"),
        pytest.param(PROGRESSING, True, None, id="progressing by force: goes"),
        pytest.param(UPDATED_AFTER_READY, True, None, id="pending by an update, by force: goes"),
    ],
)
def test_what_may_be_deleted(record, force, code):
    event = decided(record, delete(force=force))
    assert code == (event.code if isinstance(event, Refused) else None)


@pytest.mark.parametrize(
    ("record", "phase"), [(READY, "Ready"), (PROGRESSING, "Progressing"), (GUESSED, "Pending")]
)
def test_a_refused_delete_names_the_phase(record, phase):
    assert (
        f"Cannot delete cluster in {phase} state. Use force=true to override."
        == decided(record, delete()).error
    )


def test_a_deleted_cluster_takes_no_second_delete():
    assert NOT_FOUND == decided(DELETED, delete(8, force=True))


def test_a_delete_keeps_the_record_until_its_retention_is_over():
    assert after(seconds=1) == DELETED.deleted_at
    over = after(seconds=1) + POLICY.delete_retention
    assert (DELETED, ()) == step(DELETED, None, over - timedelta(seconds=1))
    assert (None, ()) == step(DELETED, None, over)


# --- remembered commands ------------------------------------------------------------------------------


def remembered(count):
    record = BORN
    for number in range(count):
        outcome = Outcome(command_id=uuid(100 + number), code="X" if number % 2 else None)
        record = record.sealed(seen=Seen("commands", number), at=T0, outcome=outcome)
    return record


def test_the_last_64_commands_are_remembered():
    record = remembered(80)
    kept = [number for number in range(80) if record.outcome_of(uuid(100 + number)) is not None]
    assert list(range(80 - REMEMBERED_COMMANDS, 80)) == kept
    assert REMEMBERED_COMMANDS >= 64


def test_a_remembered_command_finds_its_own_outcome():
    record = remembered(10)
    assert [None, "X"] * 5 == [record.outcome_of(uuid(100 + n)).code for n in range(10)]


def test_a_record_reflects_each_topic_up_to_its_own_offset():
    record = BORN.sealed(seen=Seen("commands", 7), at=T0).sealed(seen=Seen("reports", 3), at=T0)
    asked = [("commands", 7), ("commands", 8), ("reports", 3), ("reports", 4), ("ticks", 0)]
    assert [True, False, True, False, False] == [record.reflects(*place) for place in asked]


def test_each_sealing_is_one_revision():
    record = BORN.sealed(seen=Seen("commands", 7), at=T0).sealed(seen=Seen("reports", 3), at=T0)
    assert BORN.revision + 2 == record.revision


def test_a_replay_decides_alike_to_the_letter():
    assert decided(BORN, update(5)) == decided(BORN, update(5))
    assert decided(None, create(5), T0) == decided(None, create(5), T0)


def test_decisions_are_facts_of_the_right_kind():
    kinds = [
        decided(None, create()),
        decided(BORN, update()),
        decided(BORN, delete()),
        decided(BORN, reconcile()),
    ]
    assert [Created, Updated, Deleted, Reconciled] == [type(event) for event in kinds]


def test_a_refusal_leaves_the_record_as_it_is():
    assert evolve(BORN, NOT_FOUND, POLICY) is BORN


# --- manual reconcile ---------------------------------------------------------------------------------


def test_a_manual_reconcile_does_not_move_the_schedule():
    record, (event,) = step(READY, reconcile(), after(minutes=1))
    assert ("manual_trigger", "manual_trigger") == (event.reason, event.scheduled_by)
    assert READY.schedule == record.schedule


# --- reports ------------------------------------------------------------------------------------------


def reported(*reports):
    """The stored generation of `dns` in a cluster at generation 3 after these reports, and what each was."""
    record = story((create(), T0), (update(2), T0), (update(3), T0))
    results = []
    for second, report in enumerate(reports, 1):
        event = decide_report(record, report, at=after(seconds=second))
        results.append(event.result if isinstance(event, Ignored) else "applied")
        record = evolve(record, event, POLICY)
    return record.reports["dns"], results


@pytest.mark.parametrize(
    ("generations", "results", "kept"),
    [
        pytest.param((3,), ["applied"], 3, id="the first report is taken"),
        pytest.param((1, 2, 3), ["applied"] * 3, 3, id="newer generations follow"),
        pytest.param((3, 2), ["applied", "stale"], 3, id="an older generation is stale"),
        pytest.param((2, 1, 3), ["applied", "stale", "applied"], 3, id="stale against the stored one"),
        pytest.param((3, 3), ["applied"] * 2, 3, id="an equal generation replaces"),
        pytest.param((9, 3), ["applied"] * 2, 3, id="the future yields to the present"),
        pytest.param((9, 1), ["applied"] * 2, 1, id="the future yields to the past"),
        pytest.param((9, 5), ["applied", "stale"], 9, id="the future does not yield to a nearer future"),
        pytest.param((5, 9), ["applied"] * 2, 9, id="a further future replaces"),
        pytest.param(
            (9, 3, 2), ["applied", "applied", "stale"], 3, id="having yielded, the rule is the old one"
        ),
    ],
)
def test_generations_of_reports(generations, results, kept):
    stored, seen = reported(*(says(generation=generation) for generation in generations))
    assert (results, kept) == (seen, stored.observed_generation)


def test_the_same_report_twice_is_a_no_op():
    first = says(generation=3, ready=True, report_id=uuid(50))
    _, results = reported(first, first)
    assert ["applied", "duplicate"] == results


def test_the_same_report_is_a_no_op_after_others_too():
    """Section 4: 'same report_id twice is a no-op' has no 'unless another came between'."""
    first = says(generation=3, ready=True, report_id=uuid(50))
    second = says(generation=3, ready=False, report_id=uuid(51))
    stored, results = reported(first, second, first)
    assert ["applied", "applied", "duplicate"] == results
    assert not stored.ready


def test_reports_without_an_id_are_never_duplicates():
    _, results = reported(says(generation=3), says(generation=3))
    assert ["applied", "applied"] == results


def test_the_same_id_from_another_controller_is_another_report():
    _, results = reported(says("dns", 3, report_id=uuid(50)), says("network", 3, report_id=uuid(50)))
    assert ["applied", "applied"] == results


def test_a_report_replaces_the_whole_word_of_its_controller():
    full = replace(says(generation=3, failing="Fatal", ready=False), metadata={"a": 1})
    stored, _ = reported(full, says(generation=3))
    assert ((), {}, None) == (stored.conditions, stored.metadata, stored.last_error)


def test_last_updated_is_when_the_report_arrived():
    stored, _ = reported(says(generation=3), says(generation=3))
    assert after(seconds=2) == stored.last_updated


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param("False", "False", after(seconds=1), id="unchanged: when it was first so"),
        pytest.param("False", "True", after(seconds=2), id="changed: when the change arrived"),
        pytest.param(None, "True", after(seconds=2), id="new: when it arrived"),
    ],
)
def test_a_missing_transition_time_is_filled(before, now, expected):
    earlier = () if before is None else (available(before),)
    stored, _ = reported(says("dns", 3, *earlier), says("dns", 3, available(now)))
    assert expected == stored.conditions[0].lastTransitionTime


def test_a_given_transition_time_is_kept():
    stored, _ = reported(says("dns", 3, available("True", after(hours=-1))))
    assert after(hours=-1) == stored.conditions[0].lastTransitionTime


def test_an_accepted_report_is_a_fact():
    assert isinstance(decide_report(BORN, says(), at=T0), Reported)


# --- names --------------------------------------------------------------------------------------------

HELD = NameRecord(cluster_id=CLUSTER_ID, command_id=uuid(1), offsets={})


def refusal(holder, command, policy=POLICY):
    try:
        admit(holder, command, policy)
    except Exception as error:
        return error
    return None


def test_the_first_create_of_a_name_passes_and_passes_again():
    assert refusal(None, create(1)) is None
    assert refusal(HELD, create(1)) is None


def test_another_create_of_a_held_name_is_rejected():
    error = refusal(HELD, create(2, cluster_id=uuid(7)))
    assert ("CLUSTER_NAME_EXISTS", "Cluster with name 'one' already exists") == (error.code, error.text)
    assert error.details["field"] == "name"


def test_a_command_id_used_again_for_another_cluster_does_not_share_the_name():
    """Else two live clusters of one owner would bear one name."""
    assert refusal(HELD, create(1, cluster_id=uuid(7))) is not None


def test_an_invalid_create_does_not_take_its_name():
    assert refusal(None, create(spec={})).code == "INVALID_SPEC"
    assert refusal(None, create(name="Not Valid")).code == "VALIDATION_FAILED"
    assert refusal(None, create(), Policy(require_release=True)).code == "VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("holder", "cluster_id", "freed"),
    [
        pytest.param(HELD, CLUSTER_ID, True, id="its holder frees a name"),
        pytest.param(HELD, uuid(7), False, id="another cluster does not"),
        pytest.param(None, CLUSTER_ID, False, id="a free name is not freed again"),
    ],
)
def test_releases(holder, cluster_id, freed):
    assert freed == releases(holder, cluster_id)


def test_names_of_owners_are_apart():
    assert name_key(OWNER, "one") != name_key(STRANGER, "one")
    assert name_key(OWNER, "one") == f"{OWNER}/one"
