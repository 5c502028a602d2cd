"""The view of all clusters, against a plain dict that is filtered and sorted at each question."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.commands import Create
from domain.cluster.decide import decide, evolve
from domain.policy import Policy
from domain.values import replace
from streams.claims import CLAIM_HEADER, CLAIM_KEY
from streams.json import encode
from tables.cluster import ClusterView, Filter
from tests.tables.given import Record

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy()
IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(5)]


def cluster(id: str, *, revision=1, owner="a@b.cd", platform="gcp", phase="Pending", minute=0, deleted=False):
    at = START + timedelta(minutes=minute)
    create = Create(
        command_id=id, cluster_id=id, user_email=owner, name="c", spec={"platform": {"type": platform}}
    )
    record = evolve(None, decide(None, create, at=at, policy=POLICY), POLICY)
    status = replace(record.cluster.status, phase=phase)
    return replace(
        record,
        revision=revision,
        cluster=replace(record.cluster, status=status),
        deleted_at=at if deleted else None,
    )


def put(view: ClusterView, record: Any, *, claim: int | None = None) -> None:
    headers = () if claim is None else ((CLAIM_HEADER, b"%d" % claim),)
    offset = 0 if claim is None else claim + 1
    view.apply(Record(record.cluster.id.encode(), encode(record), offset=offset, headers=headers))


changes = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from(["a@b.cd", "e@f.gh"]),
    st.sampled_from(["gcp", "GCP", "aws"]),
    st.sampled_from(["Pending", "Ready"]),
    st.booleans(),
)
filters = st.builds(
    Filter,
    st.none() | st.sampled_from(["a@b.cd", "e@f.gh", "n@o.ne"]),
    st.none() | st.sampled_from(["gcp", "aws"]),
    st.none() | st.sampled_from(["pending", "ready"]),
)


@given(st.lists(st.tuples(changes, filters), max_size=25), st.integers(0, 3), st.integers(1, 3))
def test_pages_are_those_of_a_plain_list(steps, offset, limit):
    view, plain = ClusterView(), {}
    for revision, ((id, owner, platform, phase, deleted), wanted) in enumerate(steps, start=1):
        minute = IDS.index(id) % 3  # some are born at the same time: then the id decides
        record = cluster(
            id, revision=revision, owner=owner, platform=platform, phase=phase, minute=minute, deleted=deleted
        )
        put(view, record)
        plain[id] = record
        live = [
            r.cluster
            for r in plain.values()
            if not r.deleted_at
            and wanted.owner in (None, r.cluster.created_by)
            and wanted.platform in (None, r.cluster.spec["platform"]["type"].lower())
            and wanted.phase in (None, r.cluster.status.phase.lower())
        ]
        live.sort(key=lambda c: (-c.created_at.timestamp(), c.id))
        documents, total = view.page(wanted, limit=limit, offset=offset)
        assert len(live) == total
        assert [encode(c) for c in live[offset : offset + limit]] == documents


def test_a_document_is_the_bytes_of_the_record():
    view, record = ClusterView(), cluster(IDS[0])
    put(view, record)
    entry = view.get(IDS[0])
    assert entry is not None
    assert encode(record.cluster) == entry.document
    assert msgspec.json.decode(encode(record.cluster.status)) == msgspec.json.decode(bytes(entry.status()))


def test_the_record_of_a_worker_that_was_replaced_changes_nothing():
    view = ClusterView()
    view.apply(Record(CLAIM_KEY, b"{}", offset=3))
    put(view, cluster(IDS[0], phase="Ready"), claim=3)
    view.apply(Record(CLAIM_KEY, b"{}", offset=7))
    put(view, cluster(IDS[0], revision=9, phase="Pending"), claim=3)
    assert "ready" == view.get(IDS[0]).columns.phase
    put(view, cluster(IDS[0], revision=2, phase="Failed"), claim=7)
    assert "failed" == view.get(IDS[0]).columns.phase


def test_a_tombstone_takes_a_cluster_away():
    view = ClusterView()
    put(view, cluster(IDS[0]))
    view.apply(Record(IDS[0].encode(), None))
    assert view.get(IDS[0]) is None
    assert ([], 0) == view.page(Filter(), limit=10, offset=0)


def waiting_for(view, revision):
    """A future that is done when the view shows a revision."""
    shown = asyncio.get_running_loop().create_future()
    view.when_shown(IDS[0], revision, shown)
    return shown


async def test_whoever_waits_for_a_revision_is_told_when_it_is_shown():
    view = ClusterView()
    put(view, cluster(IDS[0], revision=1))
    third, fifth = waiting_for(view, 3), waiting_for(view, 5)
    put(view, cluster(IDS[0], revision=2))
    assert not third.done()
    put(view, cluster(IDS[0], revision=4))
    assert third.done()
    assert not fifth.done()
    assert waiting_for(view, 4).done()
    put(view, cluster(IDS[0], revision=5))
    assert fifth.done()
    assert not view._waiting


async def test_the_revision_of_a_delete_is_shown_too():
    view = ClusterView()
    put(view, cluster(IDS[0], revision=2, deleted=True))
    assert waiting_for(view, 2).done()


async def test_a_wait_that_is_given_up_leaves_nothing_behind():
    view = ClusterView()
    one, other = waiting_for(view, 1), waiting_for(view, 1)
    one.cancel()
    view.forget(IDS[0], one)
    put(view, cluster(IDS[0], revision=1))
    assert other.done()
    forgotten = waiting_for(view, 2)
    view.forget(IDS[0], forgotten)
    assert not view._waiting


# --- what a record changed ----------------------------------------------------------------------------


def applied(view: ClusterView, record: Any) -> Any:
    return view.apply(Record(record.cluster.id.encode(), encode(record)))


def test_a_change_shows_the_document_before_and_after():
    view = ClusterView()
    first, second = cluster(IDS[0], revision=1), cluster(IDS[0], revision=2, phase="Ready")
    born = applied(view, first)
    assert (None, encode(first.cluster)) == (born.before, born.after.document)
    changed = applied(view, second)
    assert (encode(first.cluster), encode(second.cluster)) == (
        changed.before.document,
        changed.after.document,
    )
    gone = applied(view, cluster(IDS[0], revision=3, phase="Ready", deleted=True))
    assert (encode(second.cluster), None) == (gone.before.document, gone.after)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(cluster(IDS[0], revision=9), id="the same document under a later revision"),
        pytest.param(cluster(IDS[1], deleted=True), id="the delete of a cluster that is not there"),
    ],
)
def test_what_get_does_not_show_is_no_change(record):
    view = ClusterView()
    put(view, cluster(IDS[0], revision=2))
    document = view.get(IDS[0]).document
    assert applied(view, record) is None
    assert view.get(IDS[0]).document is document


@given(st.lists(changes, max_size=25), filters, st.integers(1, 3))
def test_walking_behind_places_shows_the_whole_list(said, wanted, limit):
    view = ClusterView()
    for revision, (id, owner, platform, phase, deleted) in enumerate(said, start=1):
        minute = IDS.index(id) % 3
        record = cluster(
            id, revision=revision, owner=owner, platform=platform, phase=phase, minute=minute, deleted=deleted
        )
        put(view, record)
    place, walked = (float("-inf"), ""), []
    while page := view.after(wanted, place, limit=limit):
        walked += page
        place = page[-1].place
    assert view.page(wanted, limit=100, offset=0)[0] == [entry.document for entry in walked]
