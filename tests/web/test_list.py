"""GET /api/v1/clusters: who sees what, in which order, page by page."""

import pytest

from tests.e2e.product import CONTROLLER, an_owner, available
from tests.web.answers import check, check_cluster


@pytest.fixture(scope="module")
async def owner(shared_api):
    """An owner of twelve clusters, oldest first; three are aws, one is Ready."""
    client = shared_api.as_(an_owner())
    clusters = []
    for n in range(12):
        kind = "AWS" if n % 4 == 0 else "gcp"
        clusters.append(await client.created(f"c{n}", {"platform": {"type": kind}}))
    await client.report(clusters[5]["id"], conditions=available())
    return client, [cluster["id"] for cluster in clusters]


async def test_nobody_s_list_is_an_empty_array(api):
    assert {"clusters": [], "total": 0, "limit": 50, "offset": 0} == check(await api.list(), 200).json


async def test_the_newest_comes_first(owner):
    client, ids = owner
    listed = check(await client.list(), 200).json
    assert ids[::-1] == [cluster["id"] for cluster in listed["clusters"]]
    assert (12, 50, 0) == (listed["total"], listed["limit"], listed["offset"])


async def test_a_list_shows_what_get_shows(owner):
    client, _ = owner
    for cluster in (await client.list())["clusters"]:
        check_cluster(cluster)
        assert cluster == (await client.get(cluster["id"])).json


@pytest.mark.parametrize(
    ("query", "limit", "offset", "places"),
    [
        ("", 50, 0, range(12)),
        ("?limit=5", 5, 0, range(5)),
        ("?limit=5&offset=5", 5, 5, range(5, 10)),
        ("?limit=5&offset=10", 5, 10, range(10, 12)),
        ("?offset=12", 50, 12, range(0)),
        ("?offset=1000000", 50, 1000000, range(0)),
        ("?limit=100", 100, 0, range(12)),
        ("?limit=101", 100, 0, range(12)),
        ("?limit=99999999999999999999999", 100, 0, range(12)),
        ("?limit=0", 50, 0, range(12)),
        ("?limit=-1", 50, 0, range(12)),
        ("?limit=ten", 50, 0, range(12)),
        ("?limit=1.5", 50, 0, range(12)),
        ("?limit=1e1", 50, 0, range(12)),
        ("?limit=", 50, 0, range(12)),
        ("?limit=%00", 50, 0, range(12)),
        ("?limit=%ff", 50, 0, range(12)),
        ("?limit=%D9%A3", 50, 0, range(12)),
        ("?limit=5%0a", 50, 0, range(12)),
        ("?offset=-3", 50, 0, range(12)),
        ("?offset=x", 50, 0, range(12)),
        ("?offset=1.5", 50, 0, range(12)),
        ("?unknown=1&limit=2", 2, 0, range(2)),
    ],
)
async def test_pages(owner, query, limit, offset, places):
    client, ids = owner
    page = check(await client.list(query), 200).json
    assert (limit, offset, 12) == (page["limit"], page["offset"], page["total"])
    newest_first = ids[::-1]
    assert [newest_first[place] for place in places] == [cluster["id"] for cluster in page["clusters"]]


@pytest.mark.parametrize("digits", [18, 19, 20, 30, 400])
async def test_an_offset_of_many_digits_is_beyond_the_end(owner, digits):
    client, _ = owner
    page = check(await client.list(f"?offset={'9' * digits}"), 200).json
    assert ([], 12) == (page["clusters"], page["total"])


async def test_all_pages_together_are_the_whole_list(owner):
    client, ids = owner
    seen = []
    for offset in range(0, 12, 5):
        seen += [cluster["id"] for cluster in (await client.list(f"?limit=5&offset={offset}"))["clusters"]]
    assert ids[::-1] == seen


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("platform=aws", 3),
        ("platform=AWS", 3),
        ("platform=Gcp", 9),
        ("platform=azure", 0),
        ("platform=", 12),
        ("platform", 12),
        ("status=", 12),
        ("platform=&status=ready", 1),
        ("platform=aws&status=", 3),
        ("platform=%00", 0),
        ("platform=%ff%fe", 0),
        ("status=Pending", 11),
        ("status=pENDING", 11),
        ("status=ready", 1),
        ("status=Failed", 0),
        ("status=nonsense", 0),
        ("platform=gcp&status=ready", 1),
        ("platform=aws&status=ready", 0),
        ("created_by=else@example.com", 12),  # ignored for users
    ],
)
async def test_filters(owner, query, total):
    client, _ = owner
    listed = check(await client.list(f"?{query}&limit=2"), 200).json
    assert (total, min(2, total)) == (listed["total"], len(listed["clusters"]))


async def test_filters_follow_what_changes(api):
    cluster = await api.created()
    totals = []
    for _ in range(2):
        totals.append(
            [(await api.list(f"?{q}"))["total"] for q in ("status=pending", "status=ready", "platform=aws")]
        )
        await api.update(cluster["id"], {"platform": {"type": "aws"}})
        await api.report(cluster["id"], observed_generation=2, conditions=available())
    assert [[1, 0, 0], [0, 1, 1]] == totals


async def test_others_do_not_see_it_and_privileged_do(owner):
    client, ids = owner
    assert 0 == (await client.as_(an_owner()).list())["total"]
    everyone = await client.as_(CONTROLLER).list("?limit=1")
    assert everyone["total"] >= 12
    theirs = await client.as_(CONTROLLER).list(f"?created_by={client.email}")
    assert ids[::-1] == [cluster["id"] for cluster in theirs["clusters"]]
    assert 0 == (await client.as_(CONTROLLER).list("?created_by=nobody@example.com"))["total"]
    assert everyone["total"] == (await client.as_(CONTROLLER).list("?created_by=&limit=1"))["total"]
