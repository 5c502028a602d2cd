"""Droplets over REST and Kafka (operations contract, sections 1.2, 2, 5, 9 and 12)."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner, headers_of

PATH = "/api/v1/droplets"
SPEC = {"platform": {"type": "gcp", "gcp": {"projectID": "demo", "region": "europe-west3"}}}
_clusters = count(1)
QUICK = Policy(droplet_provisioning=timedelta(milliseconds=200))


@pytest.fixture(scope="module")
async def place(servers):
    async with Deployment(await servers.new_topics(), policy=QUICK) as deployment:
        await deployment.worker()
        yield deployment


@pytest.fixture(scope="module")
async def client(place):
    return await place.web(an_owner())


@pytest.fixture(scope="module")
async def replica(place):
    """Another web process of the same deployment."""
    return await place.web(an_owner())


async def post(client: Client, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:
    body = {"name": "one", "region": "nyc3"} | members
    return await client.request("POST", PATH, body, headers=headers)


async def made(client: Client, **members: Any) -> dict[str, Any]:
    answer = await post(client, **members)
    assert answer.status == 201, answer
    droplet: dict[str, Any] = answer["droplet"]
    return droplet


async def a_cluster(client: Client) -> dict[str, Any]:
    return await client.created(f"cluster-{next(_clusters)}", SPEC)


async def get(client: Client, id: str) -> Answer:
    return await client.request("GET", f"{PATH}/{id}")


async def active(client: Client, id: str) -> dict[str, Any]:
    """The droplet, once it is active."""

    async def found() -> dict[str, Any] | None:
        droplet: dict[str, Any] = (await get(client, id))["droplet"]
        return droplet if droplet["status"] == "active" else None

    return await until(found, within=20, what="an active droplet")


# --- one droplet --------------------------------------------------------------------------------------


async def test_a_droplet_becomes_active_with_an_address_of_its_own(client):
    # when two are created
    created = await post(client, size="c-2", provider="any")
    ids = [created["droplet"]["id"], (await made(client))["id"]]
    droplets = [await active(client, id) for id in ids]

    # then
    first = created["droplet"]
    assert (201, f"{PATH}/{ids[0]}", "Droplet created") == (
        created.status,
        created.headers["Location"],
        created["message"],
    )
    assert "provisioning" == first["status"]
    assert {"ip_address", "cluster", "cluster_id"}.isdisjoint(first)
    assert 4 == UUID(ids[0].removeprefix("droplet-")).version
    assert 2 == len({droplet["ip_address"] for droplet in droplets})
    assert ("c-2", "any", "ubuntu-20-04-x64") == tuple(
        droplets[0][name] for name in ("size", "provider", "image")
    )
    assert "provider" not in droplets[1]


async def test_a_deleted_droplet_is_gone_and_a_second_delete_says_so(client):
    id = (await made(client))["id"]
    answers = [await client.request("DELETE", f"{PATH}/{id}") for _ in range(2)]
    assert [200, 404] == [answer.status for answer in answers]
    assert {"message": "Droplet deleted"} == answers[0].json
    assert 404 == (await get(client, id)).status


async def test_a_droplet_deleted_before_it_is_active_stays_deleted(client, place):
    # given
    id = (await made(client))["id"]
    await client.request("DELETE", f"{PATH}/{id}")
    # when another one, created later, is active, its moment is long over
    await active(client, (await made(client))["id"])
    # then
    assert 404 == (await get(client, id)).status
    events = [event["type"] for event in await place.log("cluster-events").bodies(id)]
    assert ["droplet.created", "droplet.deleted"] == events


async def test_a_create_under_a_key_makes_one_droplet(client):
    answers = [await post(client, {"Idempotency-Key": "once"}) for _ in range(2)]
    assert answers[0]["droplet"]["id"] == answers[1]["droplet"]["id"]
    assert "true" == answers[1].headers["Idempotent-Replayed"]


# --- with a cluster -----------------------------------------------------------------------------------


async def test_a_droplet_of_a_cluster_shows_it_and_is_among_its_droplets(client, replica):
    # given
    cluster = await a_cluster(client)
    # when
    ids = [(await made(replica, cluster_id=cluster["id"]))["id"] for _ in range(2)]
    # then every process shows it, oldest first
    for each in (client, replica):
        droplet = (await get(each, ids[0]))["droplet"]
        shown = droplet["cluster"]
        assert cluster["id"] == droplet["cluster_id"] == shown["id"]
        assert ["id", "name", "region", "droplets", "status", "last_checked"] == list(shown)
        assert (cluster["name"], "europe-west3", "healthy") == (
            shown["name"],
            shown["region"],
            shown["status"],
        )
    assert ids == shown["droplets"]
    # and once one is deleted, its id is gone
    await client.request("DELETE", f"{PATH}/{ids[0]}")
    assert ids[1:] == (await get(client, ids[1]))["droplet"]["cluster"]["droplets"]


async def test_a_cluster_that_another_process_has_just_created_is_known(client, replica):
    for _ in range(10):
        cluster = await a_cluster(client)
        assert 201 == (await post(replica, cluster_id=cluster["id"])).status


@pytest.mark.parametrize("cluster_id", ["nope", str(UUID(int=7, version=4))])
async def test_an_unknown_cluster_is_refused(client, cluster_id):
    answer = await post(client, cluster_id=cluster_id)
    assert (400, "CLUSTER_NOT_FOUND") == (answer.status, answer["code"])
    assert "cluster not found" in answer["error"].lower()


async def test_the_droplets_of_a_cluster_go_with_it(client, place):
    # given
    cluster = await a_cluster(client)
    ids = [(await made(client, cluster_id=cluster["id"]))["id"] for _ in range(3)]
    await active(client, ids[0])
    # when
    assert 202 == (await client.delete(cluster["id"], force=True)).status

    # then
    async def gone() -> bool:
        return [404] * 3 == [(await get(client, id)).status for id in ids]

    await until(gone, within=20, what="the end of its droplets")
    for id in ids:
        events = [event["type"] for event in await place.log("cluster-events").bodies(id)]
        assert ("droplet.created", "droplet.deleted") == (events[0], events[-1])


async def test_a_cluster_without_droplets_can_have_some_again(client):
    cluster = await a_cluster(client)
    for _ in range(2):
        id = (await made(client, cluster_id=cluster["id"]))["id"]
        await active(client, id)
        await client.request("DELETE", f"{PATH}/{id}")


@pytest.mark.parametrize("cluster_id", ["nope", str(UUID(int=8, version=4))])
async def test_a_droplet_that_comes_by_kafka_fails_if_its_cluster_does_not_exist(client, place, cluster_id):
    # when
    create = {"type": "droplet.create", "name": "one", "region": "nyc3", "cluster_id": cluster_id}
    id = f"droplet-of-{cluster_id}"
    await place.log("droplet.commands").publish(id, {**create, "id": id, "command_id": id})

    # then
    async def failed() -> dict[str, Any] | None:
        answer = await get(client, id)
        return answer["droplet"] if answer.status == 200 and answer["droplet"]["status"] == "failed" else None

    droplet = await until(failed, within=20, what="a failed droplet")
    assert "cluster not found" == droplet["reason"]
    assert "ip_address" not in droplet


# --- lists and refusals -------------------------------------------------------------------------------


async def test_lists_are_filtered_by_cluster_and_status(client):
    # given
    cluster = await a_cluster(client)
    mine = [(await made(client, cluster_id=cluster["id"]))["id"] for _ in range(3)]
    for id in mine:
        await active(client, id)

    async def listed(query: str) -> list[str]:
        answer = await client.request("GET", f"{PATH}?cluster_id={cluster['id']}{query}")
        return [droplet["id"] for droplet in answer["droplets"]]

    # then, newest first
    await until(lambda: _equal(listed("&status=active"), mine[::-1]), within=5, what="the list")
    assert [] == await listed("&status=failed")
    assert mine[:0:-1] == await listed("&limit=2")


async def _equal(found: Any, expected: Any) -> bool:
    return bool(await found == expected)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", "VALIDATION_FAILED"),
        (b"[]", "VALIDATION_FAILED"),
        (b'{"name": "one"}', "VALIDATION_FAILED"),
        (b'{"region": "nyc3"}', "VALIDATION_FAILED"),
        (b'{"name": "", "region": "nyc3"}', "VALIDATION_FAILED"),
        (b'{"name": 1, "region": "nyc3"}', "VALIDATION_FAILED"),
        (b'{"name": "%b", "region": "nyc3"}' % (b"x" * 256), "VALIDATION_FAILED"),
    ],
)
async def test_a_bad_body_is_refused(client, body, code):
    answer = await client.request("POST", PATH, body)
    assert (400, code) == (answer.status, answer["code"])


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nope", 404), ("/bad%20id", 404), ("?status=nope", 400), ("?limit=0", 400), ("?cursor=x", 400)],
)
async def test_a_read_of_what_cannot_be_is_refused(client, path, status):
    answer = await client.request("GET", f"{PATH}{path}")
    assert status == answer.status
    assert isinstance(answer["error"], str)


# --- events and rows ----------------------------------------------------------------------------------


async def test_events_tell_the_life_of_a_droplet_in_their_envelope(client, place):
    # given
    trace = "0af7651916cd43dd8448eb211c80319c"
    cluster = await a_cluster(client)
    answer = await post(client, {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}, cluster_id=cluster["id"])
    droplet = await active(client, answer["droplet"]["id"])
    await client.request("DELETE", f"{PATH}/{droplet['id']}")

    # when
    log = place.log("cluster-events")
    await log.wait_for(droplet["id"], lambda event: event["type"] == "droplet.deleted")
    events = await log.bodies(droplet["id"])

    # then
    assert ["droplet.created", "droplet.updated", "droplet.deleted"] == [event["type"] for event in events]
    assert [cluster["id"]] * 3 == [event["cluster_id"] for event in events]
    assert {str(UUID(trace))} == {event["trace_id"] for event in events[:1]}
    assert droplet["ip_address"] == events[1]["droplet"]["ip_address"]
    assert all(event["droplet"] == event["payload"]["droplet"] for event in events)
    assert 3 == len({event["event_id"] for event in events})
    # and headers say the same
    headers = [headers_of(record) for record in await log.of(droplet["id"])]
    assert [event["type"] for event in events] == [each["event_type"] for each in headers]
    assert [event["event_id"] for event in events] == [each["event_id"] for each in headers]


async def test_a_command_of_a_kafka_client_counts_as_much(client, place):
    # given
    id = (await made(client))["id"]
    await active(client, id)
    # when
    stop = {"type": "droplet.stop", "id": id, "command_id": "stop-1"}
    await place.log("droplet.commands").publish(id, stop)

    # then
    async def stopped() -> bool:
        return bool((await get(client, id))["droplet"]["status"] == "inactive")

    await until(stopped, within=10, what="an inactive droplet")
