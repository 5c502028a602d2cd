"""The checker finds every fault it is there for, and none where all is well.

Each case starts from a small run in which all is well and breaks one thing.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.check import check
from tests.chaos.history import Attempt, History
from tests.chaos.observe import EventFact, Held, Observed, Parked, ResultFact, Row, StateFact

CLUSTER = "00000000-0000-4000-8000-000000000001"
CREATE = EventFact("e1", "cluster.created", CLUSTER, 1, "v1", "created", b"1")
UPDATE = EventFact("e2", "cluster.updated", CLUSTER, 2, "v2", "updated", b"2")
NATIVE = EventFact("e3", "cluster.updated", CLUSTER, 3, "v3", "native", b"3")
STATE = StateFact(
    revision=4,
    generation=3,
    resource_version="v3",
    owner="owner@example.com",
    name="first",
    mark="native",
    deleted=False,
    reports={"client": "reported"},
)
BAD = "poison-json-1"
RESULT = ResultFact("applied", None, 3, "v3")


def attempt(mark: str, kind: str, status: int, **members: object) -> Attempt:
    return Attempt(
        mark=mark,
        kind=kind,
        client="client",
        cluster_id=CLUSTER,
        status=status,
        **{"started": 0.0, "ended": 100.0, **members},
    )


def a_history() -> History:
    """A create, an update, one that is refused, one of unknown outcome, a report, and one over Kafka."""
    return History(
        attempts=[
            attempt("created", "create", 201, generation=1, resource_version="v1"),
            attempt("updated", "update", 200, generation=2, resource_version="v2"),
            attempt("refused", "update", 409, code="GENERATION_CONFLICT", expected=("GENERATION_CONFLICT",)),
            attempt("open", "update", 503),
            attempt("reported", "report", 200),
            attempt("native", "update", 0, command_id="c1"),
        ]
    )


def observations() -> Observed:
    """What is to be seen after it: the write of unknown outcome was not done."""
    document = {"id": CLUSTER, "generation": 3, "resource_version": "v3"}
    return Observed(
        events={event.id: event for event in (CREATE, UPDATE, NATIVE)},
        states={CLUSTER: STATE},
        results={"c1": [RESULT]},
        parked=[Parked("cluster-commands", "invalid_json", BAD)],
        tables={CLUSTER: Held(3, "v3")},
        answers={"web": {CLUSTER: document}},
        rows={CLUSTER: Row(3, "v3", "native", False, {"client": "reported"})},
        event_rows={event.id: (event.type, event.generation) for event in (CREATE, UPDATE, NATIVE)},
    )


def test_nothing_is_found_where_all_is_well() -> None:
    assert check(a_history(), observations(), poison=[BAD]) == []


def test_a_write_of_unknown_outcome_may_have_been_done() -> None:
    observed = observations()
    done = EventFact("e4", "cluster.updated", CLUSTER, 4, "v4", "open", b"4")
    state = replace(STATE, generation=4, resource_version="v4", mark="open")
    observed.events["e4"] = done
    observed.states[CLUSTER] = state
    observed.answers["web"][CLUSTER] = {"generation": 4, "resource_version": "v4"}
    observed.rows = {CLUSTER: Row(4, "v4", "open", False, {"client": "reported"})}
    observed.event_rows["e4"] = (done.type, 4)
    observed.tables[CLUSTER] = Held(4, "v4")

    assert check(a_history(), observed, poison=[BAD]) == []


def test_a_retry_under_one_key_may_be_answered_with_what_came_after_it() -> None:
    history = a_history()
    history.attempts += [
        attempt("updated", "update", 503),
        attempt("updated", "update", 200, generation=3, resource_version="v3", repeat=True),
    ]

    assert check(history, observations(), poison=[BAD]) == []


def test_an_unanswered_report_may_be_the_last_word_whenever_it_was_made() -> None:
    history, observed = a_history(), observations()
    history.attempts.insert(0, attempt("early", "report", 503))
    observed.states[CLUSTER] = replace(STATE, reports={"client": "early"})
    observed.rows = {CLUSTER: Row(3, "v3", "native", False, {"client": "early"})}

    assert check(history, observed, poison=[BAD]) == []


@pytest.mark.parametrize(
    ("facts", "kinds"),
    [
        pytest.param([("applied", None, 3), ("duplicate", None, 5)], set(), id="a repeat that is told so"),
        pytest.param(
            [("applied", None, None), ("rejected", "RESOURCE_NOT_FOUND", None)],
            {"doubled"},
            id="a report that was taken and is refused once its cluster is deleted",
        ),
        pytest.param(
            [("applied", None, 3), ("rejected", "RESOURCE_NOT_FOUND", None)],
            {"doubled"},
            id="a command that was done and is refused when it comes again",
        ),
        pytest.param(
            [("rejected", "RESOURCE_NOT_FOUND", None), ("applied", None, None)],
            {"doubled"},
            id="one that was refused and is done when it comes again",
        ),
        pytest.param([("duplicate", None, 3), ("duplicate", None, 4)], {"doubled"}, id="never done at first"),
    ],
)
def test_a_command_has_one_outcome(facts: list[tuple[str, str | None, int | None]], kinds: set[str]) -> None:
    observed = observations()
    observed.results["other"] = [
        ResultFact(outcome, code, generation, None) for outcome, code, generation in facts
    ]

    assert {finding.kind for finding in check(a_history(), observed, poison=[BAD])} == kinds


@pytest.mark.parametrize(
    ("outcomes", "kinds"),
    [
        pytest.param([], set(), id="the state alone"),
        pytest.param(["duplicate", "duplicate"], set(), id="repeats are told so"),
        pytest.param(["applied"], set(), id="a worker that died has said so, too"),
        pytest.param(["rejected"], {"doubled"}, id="refused and done"),
        pytest.param(["applied", "rejected"], {"doubled"}, id="done, refused and done"),
    ],
)
def test_a_state_is_one_outcome(outcomes: list[str], kinds: set[str]) -> None:
    observed = observations()
    observed.answered.add("other")
    if outcomes:
        observed.results["other"] = [
            ResultFact(outcome, None, number, None) for number, outcome in enumerate(outcomes)
        ]

    assert {finding.kind for finding in check(a_history(), observed, poison=[BAD])} == kinds


def test_a_report_for_a_cluster_that_is_gone_may_be_parked() -> None:
    history, observed = a_history(), observations()
    history.attempts.append(attempt("gone", "delete", 202))
    observed.events["e4"] = replace(NATIVE, id="e4", type="cluster.deleted")
    observed.event_rows["e4"] = ("cluster.deleted", 3)
    observed.states[CLUSTER] = replace(STATE, deleted=True)
    observed.rows = {CLUSTER: Row(3, "v3", "native", True, {"client": "reported"})}
    observed.answers["web"].clear()
    observed.tables[CLUSTER] = None
    observed.parked.append(Parked("cluster-status-reports", "unknown_cluster", CLUSTER))

    assert check(history, observed, poison=[BAD]) == []


def lose_an_event(observed: Observed) -> None:
    del observed.events["e2"]


def double_a_write(observed: Observed) -> None:
    observed.events["e9"] = replace(UPDATE, id="e9", generation=4)


def double_a_generation(observed: Observed) -> None:
    observed.events["e9"] = replace(UPDATE, id="e9", mark="open")


def do_what_was_refused(observed: Observed) -> None:
    observed.events["e9"] = replace(NATIVE, id="e9", generation=4, mark="refused")


def do_what_nobody_asked(observed: Observed) -> None:
    observed.events["e9"] = replace(NATIVE, id="e9", generation=4, mark="nobody's")


def delete_what_nobody_deleted(observed: Observed) -> None:
    observed.events["e9"] = replace(NATIVE, id="e9", type="cluster.deleted")


def tell_another_generation(observed: Observed) -> None:
    observed.events["e2"] = replace(UPDATE, resource_version="other")


def lose_the_state(observed: Observed) -> None:
    observed.states.clear()


def keep_an_old_state(observed: Observed) -> None:
    observed.states[CLUSTER] = replace(STATE, generation=2, resource_version="v2", mark="updated")


def lose_a_report(observed: Observed) -> None:
    observed.states[CLUSTER] = replace(STATE, reports={})


def give_a_name_twice(observed: Observed) -> None:
    observed.states["other"] = STATE


def give_no_result(observed: Observed) -> None:
    observed.results.clear()


def give_two_results(observed: Observed) -> None:
    observed.results["c1"].append(replace(RESULT, generation=4))


def show_nothing(observed: Observed) -> None:
    observed.answers["web"].clear()


def show_what_is_not_there(observed: Observed) -> None:
    observed.answers["web"]["other"] = {"generation": 1, "resource_version": "v1"}


def show_an_old_cluster(observed: Observed) -> None:
    observed.answers["web"][CLUSTER] = {"generation": 2, "resource_version": "v2"}


def lose_a_row(observed: Observed) -> None:
    observed.rows.clear()


def keep_an_old_row(observed: Observed) -> None:
    observed.rows[CLUSTER] = replace(observed.rows[CLUSTER], generation=2)


def lose_an_event_row(observed: Observed) -> None:
    del observed.event_rows["e1"]


def hold_an_old_table(observed: Observed) -> None:
    observed.tables[CLUSTER] = Held(2, "v2")


def hold_nothing(observed: Observed) -> None:
    observed.tables[CLUSTER] = None


def park_a_good_record(observed: Observed) -> None:
    observed.parked.append(Parked("cluster-commands", "internal_error", CLUSTER))


def park_a_report_of_a_living_cluster(observed: Observed) -> None:
    observed.parked.append(Parked("cluster-status-reports", "unknown_cluster", CLUSTER))


def park_nothing(observed: Observed) -> None:
    observed.parked.clear()


def see_a_fault(observed: Observed) -> None:
    observed.faults.append("state went back")


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lose_an_event, "lost"),
        (double_a_write, "doubled"),
        (double_a_generation, "doubled"),
        (do_what_was_refused, "wrong"),
        (do_what_nobody_asked, "wrong"),
        (delete_what_nobody_deleted, "wrong"),
        (tell_another_generation, "wrong"),
        (lose_the_state, "lost"),
        (keep_an_old_state, "wrong"),
        (lose_a_report, "lost"),
        (give_a_name_twice, "doubled"),
        (give_no_result, "unanswered"),
        (give_two_results, "doubled"),
        (show_nothing, "lost"),
        (show_what_is_not_there, "wrong"),
        (show_an_old_cluster, "wrong"),
        (lose_a_row, "lost"),
        (keep_an_old_row, "wrong"),
        (lose_an_event_row, "lost"),
        (hold_an_old_table, "wrong"),
        (hold_nothing, "wrong"),
        (park_a_good_record, "wrong"),
        (park_a_report_of_a_living_cluster, "wrong"),
        (park_nothing, "lost"),
        (see_a_fault, "wrong"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.replace("_", " "),
)
def test_a_fault_is_found(break_it: Callable[[Observed], None], kind: str) -> None:
    observed = observations()
    break_it(observed)

    assert kind in {finding.kind for finding in check(a_history(), observed, poison=[BAD])}


@pytest.mark.parametrize(
    ("attempts", "kind"),
    [
        pytest.param(
            [attempt("refused", "update", 404, code="RESOURCE_NOT_FOUND")],
            "wrong",
            id="a refusal nobody expected",
        ),
        pytest.param([attempt("broken", "update", 500, code="INTERNAL_ERROR")], "wrong", id="a server error"),
        pytest.param(
            [attempt("more", "update", 200, generation=4, resource_version="v4")], "lost", id="a lost update"
        ),
        pytest.param([attempt("gone", "delete", 202)], "lost", id="a lost delete"),
        pytest.param(
            [attempt("keyed", "update", 503), attempt("keyed", "update", 200, generation=3, repeat=True)],
            "lost",
            id="a retry under one key of what was never done",
        ),
        pytest.param(
            [attempt("early", "update", 200, generation=2, started=9.0, ended=9.1, expected_version="v2")],
            "disordered",
            id="a condition that did not hold",
        ),
    ],
)
def test_an_answer_that_does_not_hold_is_found(attempts: list[Attempt], kind: str) -> None:
    history = a_history()
    history.attempts += attempts

    assert kind in {finding.kind for finding in check(history, observations())}


def test_an_operation_without_an_answer_is_found() -> None:
    history = a_history()
    history.unanswered.append("client update")

    assert [finding.kind for finding in check(history, observations(), poison=[BAD])] == ["unanswered"]
