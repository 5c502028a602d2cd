"""The checker of jobs finds each thing that can be wrong, and nothing where all is well."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from domain.ids import entity_id_of
from executors import jobs as doer
from tests.chaos.droplets import SeenDroplets
from tests.chaos.jobs import JobHistory, SeenJobs, check_jobs, made_by

CLUSTER = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
MADE = f"droplet-{entity_id_of('job-a', 'droplet')}"
GONE = "droplet-gone"


def job(id: str, type: str, status: str, **result: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "status": status, "result": json.dumps(result)}


def seen() -> tuple[SeenJobs, SeenDroplets]:
    """A droplet that was made, one that was deleted, and a job that was cancelled."""
    jobs, droplets = SeenJobs(), SeenDroplets()
    begun = ["job.requested", "job.started"]
    for shown in (
        job("job-a", "provision", "completed", droplet_id=MADE),
        job("job-b", "scale", "completed", action="scale_down", droplets=[GONE]),
        job("job-c", "scale", "cancelled"),
    ):
        jobs.states[shown["id"]] = {"job": shown}
        jobs.events[shown["id"]] = [*begun, f"job.{shown['status']}"]
    jobs.answers["web"] = {id: dict(state["job"]) for id, state in jobs.states.items()}
    droplets.droplets[MADE] = {"droplet": {"cluster_id": CLUSTER}}
    droplets.events[MADE] = ["droplet.created", "droplet.updated"]
    droplets.events[GONE] = ["droplet.created", "droplet.updated", "droplet.deleted"]
    return jobs, droplets


def found(jobs: SeenJobs, droplets: SeenDroplets, told: JobHistory | None = None) -> set[str]:
    history = told or JobHistory(["job-a", "job-b", "job-c"], {CLUSTER})
    return {finding.kind for finding in check_jobs(history, jobs, droplets)}


def test_nothing_where_all_is_well():
    assert set() == found(*seen())


def unended(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    jobs.states["job-a"]["job"]["status"] = jobs.answers["web"]["job-a"]["status"] = "processing"  # type: ignore[index]


def untold(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    jobs.events["job-a"].pop()


def told_twice(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    jobs.events["job-c"].append("job.failed")


def told_of_after_its_end(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    jobs.events["job-a"].append("job.progress")


def shown_otherwise(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    jobs.answers["web"]["job-a"] = None


def not_made(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    del droplets.events[MADE]


def made_twice(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    droplets.events[MADE].append("droplet.created")


def made_by_nobody(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    droplets.droplets["droplet-x"] = {"droplet": {"cluster_id": CLUSTER}}


def not_deleted(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    droplets.events[GONE].pop()


def failed(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    for shown in (jobs.states["job-c"]["job"], jobs.answers["web"]["job-c"]):
        shown |= {"status": "failed", "error": "no luck"}  # type: ignore[operator]
    jobs.events["job-c"][-1] = "job.failed"


def nothing_provisioned(jobs: SeenJobs, droplets: SeenDroplets) -> None:
    del jobs.states["job-a"]


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (failed, "wrong"),
        (nothing_provisioned, "wrong"),
        (unended, "unanswered"),
        (untold, "lost"),
        (told_twice, "doubled"),
        (told_of_after_its_end, "doubled"),
        (shown_otherwise, "wrong"),
        (not_made, "lost"),
        (made_twice, "lost"),
        (made_by_nobody, "wrong"),
        (not_deleted, "lost"),
    ],
)
def test_each_harm_is_found(harm: Callable[[SeenJobs, SeenDroplets], None], kind: str):
    jobs, droplets = seen()
    harm(jobs, droplets)
    assert kind in found(jobs, droplets)


@pytest.mark.parametrize(("last", "kinds"), [("droplet.deleted", set()), ("droplet.updated", {"wrong"})])
def test_a_job_may_fail_whose_droplet_another_has_deleted(last: str, kinds: set[str]):
    jobs, droplets = seen()
    shown = job("job-c", "provision", "failed") | {"error": doer.GONE}
    jobs.states["job-c"] = {"job": shown}
    jobs.answers["web"]["job-c"] = shown
    jobs.events["job-c"][-1] = "job.failed"
    droplets.events[f"droplet-{entity_id_of('job-c', 'droplet')}"] = ["droplet.created", last]
    assert kinds == found(jobs, droplets)


def test_a_job_that_is_not_there_was_lost():
    jobs, droplets = seen()
    assert {"lost"} == found(jobs, droplets, JobHistory(["job-lost"], {CLUSTER}))


def test_what_stayed_open_or_was_refused_is_told():
    jobs, droplets = seen()
    history = JobHistory([], {CLUSTER}, opened=["key"], wrong=["400 for it"])
    assert {"unanswered", "wrong"} == found(jobs, droplets, history)


def test_the_droplets_of_a_job_follow_from_its_id():
    jobs, _ = seen()
    assert "job-a" == made_by(jobs)[MADE]
    assert 7 == len(made_by(jobs))
