"""The API of operators under `/genie/api/v1` (operations contract, sections 2 and 15)."""

from typing import Any

import pytest

from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner

MOUNT = "/genie/api/v1"
ABSENT = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"


@pytest.fixture(scope="module")
async def place(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        yield deployment


@pytest.fixture(scope="module")
async def web(place):
    return await place.web()


@pytest.fixture
def client(web: Client) -> Client:
    """An operator with clusters of its own."""
    return web.as_(an_owner())


async def made(client: Client, name: str = "one", region: str = "nyc3") -> dict[str, Any]:
    answer = await client.request("POST", f"{MOUNT}/clusters", {"name": name, "region": region})
    assert answer.status == 201, answer
    cluster: dict[str, Any] = answer["cluster"]
    return cluster


async def on(client: Client, method: str, id: str, body: Any = None) -> Answer:
    return await client.request(method, f"{MOUNT}/clusters/{id}", body)


async def test_a_cluster_is_made_shown_moved_and_deleted(client):
    # given
    cluster = await made(client)
    assert ["id", "name", "region", "droplets", "status", "last_checked"] == list(cluster)
    assert ("one", "nyc3", [], "healthy") == tuple(
        cluster[name] for name in ("name", "region", "droplets", "status")
    )
    # when
    found = await on(client, "GET", cluster["id"])
    moved = await on(client, "PUT", cluster["id"], {"region": "lon1", "name": "", "status": ""})
    deleted = await on(client, "DELETE", cluster["id"])
    # then
    assert (200, {"cluster": cluster, "message": "Cluster found"}) == (found.status, found.json)
    last_checked = moved["cluster"]["last_checked"]
    assert last_checked > cluster["last_checked"]
    assert (200, {**cluster, "region": "lon1", "last_checked": last_checked}) == (
        moved.status,
        moved["cluster"],
    )
    assert (200, {"message": "Cluster deleted"}) == (deleted.status, deleted.json)
    assert [404, 404] == [(await on(client, method, cluster["id"])).status for method in ("GET", "DELETE")]


async def test_both_clients_see_the_same_cluster(client):
    # given one that each of them has made
    flat = await made(client)
    native = await client.created(
        "two", {"platform": {"type": "gcp"}, "region": "fra1", "kept": {"as": "is"}}
    )
    # when the operator moves the native one
    await on(client, "PUT", native["id"], {"region": "lon1"})
    # then its spec has changed in that alone, and its generation has moved on
    shown = (await client.get(native["id"])).json
    assert {**native["spec"], "region": "lon1"} == shown["spec"]
    assert 2 == shown["generation"]
    assert "nyc3" == (await client.get(flat["id"]))["spec"]["region"]


async def test_what_an_operator_says_of_a_cluster_counts_until_it_is_taken_back(client, place):
    # given
    replica = (await place.web()).as_(client.email)
    cluster = await made(client)
    generation = (await client.get(cluster["id"]))["generation"]
    # when
    said = await on(client, "PUT", cluster["id"], {"status": "critical"})
    moved = await on(client, "PUT", cluster["id"], {"status": "warning", "region": "lon1"})
    # then
    assert ("critical", "warning") == (said["cluster"]["status"], moved["cluster"]["status"])
    assert cluster["last_checked"] < said["cluster"]["last_checked"] < moved["cluster"]["last_checked"]
    assert ("warning", "lon1") == (moved["cluster"]["status"], moved["cluster"]["region"])

    async def seen() -> bool:
        return bool((await on(replica, "GET", cluster["id"]))["cluster"] == moved["cluster"])

    await until(seen, within=10, what="the same in another process")
    # and the native cluster has moved on by the region alone
    assert generation + 1 == (await client.get(cluster["id"]))["generation"]
    # when it is taken back
    back = await on(client, "PUT", cluster["id"], {"status": "auto"})
    # then
    assert "healthy" == back["cluster"]["status"]


async def test_lists_are_flat_and_newest_first(client):
    ids = [(await made(client, name))["id"] for name in ("a", "b", "c")]
    answer = await client.request("GET", f"{MOUNT}/clusters")
    assert ids[::-1] == [cluster["id"] for cluster in answer["clusters"]]
    assert "X-Next-Cursor" not in answer.headers


async def test_a_cursor_goes_on_where_a_page_ended(client, monkeypatch):
    ids = [(await made(client, name))["id"] for name in ("a", "b", "c")]
    monkeypatch.setattr("web.cluster.flat.MOST", 2)
    first = await client.request("GET", f"{MOUNT}/clusters")
    rest = await client.request("GET", f"{MOUNT}/clusters?cursor={first.headers['X-Next-Cursor']}")
    assert ids[::-1] == [cluster["id"] for answer in (first, rest) for cluster in answer["clusters"]]


async def test_somebody_elses_cluster_is_not_found(client, web):
    cluster = await made(client)
    other = web.as_(an_owner())
    answers = [await on(other, method, cluster["id"], {"region": "x"}) for method in ("GET", "PUT", "DELETE")]
    assert [404] * 3 == [answer.status for answer in answers]
    assert {"clusters": []} == (await other.request("GET", f"{MOUNT}/clusters")).json


@pytest.mark.parametrize(
    ("method", "id", "body", "status"),
    [
        ("POST", "", {"region": "nyc3"}, 400),
        ("POST", "", {"name": "one"}, 400),
        ("POST", "", {"name": "one", "region": " "}, 400),
        ("POST", "", {"name": "", "region": "nyc3"}, 400),
        ("POST", "", b"nonsense", 400),
        ("GET", ABSENT, None, 404),
        ("GET", "no-uuid", None, 404),
        ("PUT", ABSENT, {"region": "x"}, 404),
        ("DELETE", ABSENT, None, 404),
        ("GET", "?cursor=x", None, 400),
        ("GET", "?cursor=5b5d", None, 400),
    ],
)
async def test_what_cannot_be_is_refused(client, method, id, body, status):
    path = f"{MOUNT}/clusters{id if id.startswith('?') else f'/{id}' if id else ''}"
    answer = await client.request(method, path, body)
    assert status == answer.status
    assert isinstance(answer["error"], str)


@pytest.mark.parametrize("body", [{"name": "other"}, {"status": "good"}, {"region": 7}])
async def test_what_cannot_be_changed_is_refused(client, body):
    cluster = await made(client)
    assert 400 == (await on(client, "PUT", cluster["id"], body)).status


async def test_droplets_are_there_as_well(client):
    # given
    cluster = await made(client)
    body = {"name": "d", "region": "nyc3", "cluster_id": cluster["id"]}
    # when
    answer = await client.request("POST", f"{MOUNT}/droplets", body)
    # then
    id = answer["droplet"]["id"]
    assert (201, f"{MOUNT}/droplets/{id}") == (answer.status, answer.headers["Location"])
    assert [id] == (await on(client, "GET", cluster["id"]))["cluster"]["droplets"]
    assert 200 == (await client.request("DELETE", f"{MOUNT}/droplets/{id}")).status


@pytest.mark.parametrize("path", ["/api/v1/hello", f"{MOUNT}/hello"])
async def test_hello_is_answered(web, path):
    answer = await web.request("POST", path, {"name": "you"})
    assert (200, {"message": "Hello, you from ClusterGenie!"}) == (answer.status, answer.json)
