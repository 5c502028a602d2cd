"""When the demo takes a fleet for settled, and what it says of the rest."""

import pytest

from examples.demo.progress import Progress, SeenCluster, SeenReport

EXPECTED = {"gcp": frozenset({"gcp-network", "dns"})}


def cluster(phase: str = "Ready", generation: int = 1) -> SeenCluster:
    return SeenCluster(
        id="c", name="demo-gcp-01", platform="gcp", generation=generation, phase=phase, message="so it is"
    )


def report(controller: str, *, generation: int = 1, available: bool = True) -> SeenReport:
    return SeenReport(
        cluster_id="c",
        controller=controller,
        generation=generation,
        available=available,
        message="said",
        failed=False,
    )


BOTH = (report("gcp-network"), report("dns"))


@pytest.mark.parametrize(
    ("seen", "reports", "acknowledged", "fault"),
    [
        pytest.param(cluster(), BOTH, 1, None, id="Ready and both reported"),
        pytest.param(cluster("Progressing"), BOTH, 1, "phase is Progressing", id="not Ready"),
        pytest.param(cluster(), BOTH[:1], 1, "dns has reported nothing", id="Ready by one controller only"),
        pytest.param(
            cluster(),
            (BOTH[0], report("dns", available=False)),
            1,
            "dns reported at generation 1: said",
            id="a controller not ready yet",
        ),
        pytest.param(
            cluster(generation=2), BOTH, 2, "dns reported at generation 1", id="reports of an old generation"
        ),
        pytest.param(
            cluster(), BOTH, 2, "the API shows generation 1, generation 2 was acknowledged", id="a lost write"
        ),
    ],
)
def test_settled(
    seen: SeenCluster, reports: tuple[SeenReport, ...], acknowledged: int, fault: str | None
) -> None:
    progress = Progress(wanted=1, expected=EXPECTED)
    progress.see_cluster(seen)
    progress.generations["c"] = acknowledged
    for each in reports:
        progress.see_report(each)
    assert progress.settled() is (fault is None)
    assert (fault or "") in "".join(progress.stuck())


def test_a_cluster_that_is_not_listed_is_missed() -> None:
    progress = Progress(wanted=2, expected=EXPECTED)
    progress.see_cluster(cluster())
    for each in BOTH:
        progress.see_report(each)
    assert (progress.settled(), progress.stuck()) == (False, ["1 clusters are not listed by the API"])


def test_a_new_phase_is_a_change_and_the_same_one_is_not() -> None:
    progress = Progress(wanted=1, expected=EXPECTED)
    for phase in ("Pending", "Pending", "Ready", "Ready"):
        progress.see_cluster(cluster(phase))
    assert [change.text for change in progress.changes] == ["Pending → Ready: so it is"]


def test_an_event_seen_twice_is_one_event() -> None:
    progress = Progress(wanted=1, expected=EXPECTED)
    for _ in range(2):
        progress.see_event("e", "cluster.created")
    assert (len(progress.events), progress.repeated_events) == (1, 1)
