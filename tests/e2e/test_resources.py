"""Resources over REST and Kafka (resources contract, sections 1.1, 2, 5.2 and 6)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, headers_of

PATH = "/api/v1/resources"
ABSENT = str(UUID(int=1, version=4))
SERVICE = "cls-backend"  # as the operator calls it
LAG = 2.0  # seconds that a list may be behind
MEMBERS = ["id", "name", "description", "status", "created_at", "updated_at"]


@dataclass
class Resources:
    """The API of one web process."""

    client: Client

    async def post(
        self, body: Any = None, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> Answer:
        return await self.client.request("POST", PATH, members if body is None else body, headers=headers)

    async def made(self, **members: Any) -> dict[str, Any]:
        answer = await self.post(**{"name": "one", **members})
        assert answer.status == 201, answer
        return answer.json

    async def get(self, id: str = "", query: str = "") -> Answer:
        return await self.client.request("GET", f"{PATH}{f'/{id}' if id else ''}{query}")

    async def put(self, id: str, *, if_match: str | None = None, **members: Any) -> Answer:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.client.request("PUT", f"{PATH}/{id}", members, headers=headers)

    async def delete(self, id: str, *, if_match: str | None = None) -> Answer:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.client.request("DELETE", f"{PATH}/{id}", headers=headers)


@pytest.fixture(scope="module")
async def place(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker(service_name=SERVICE)
        yield deployment


@pytest.fixture(scope="module")
async def resources(place):
    return Resources(await place.web())


@pytest.fixture(scope="module")
async def replica(place):
    """Another web process of the same deployment."""
    return Resources(await place.web())


# --- one resource -------------------------------------------------------------------------------------


async def test_a_resource_lives_and_dies(resources, place):
    # when it is created, replaced and deleted
    created = await resources.post(name="smoke", description=None)
    id = created["id"]
    updated = await resources.put(id, name="other", status="inactive")
    deleted = await resources.delete(id)

    # then each answer shows it as it is then
    assert (201, f"{PATH}/{id}", '"1"') == (
        created.status, created.headers["Location"], created.headers["ETag"],
    )  # fmt: skip
    assert MEMBERS == list(created.json)
    assert ("", "active", created["created_at"]) == (
        created["description"], created["status"], created["updated_at"],
    )  # fmt: skip
    assert (200, '"2"', "inactive", created["created_at"]) == (
        updated.status, updated.headers["ETag"], updated["status"], updated["created_at"],
    )  # fmt: skip
    assert updated["updated_at"] > created["updated_at"]
    assert (204, b"") == (deleted.status, deleted.body)
    assert [404, 404, 404] == [
        answer.status
        for answer in (await resources.get(id), await resources.put(id, name="x"), await resources.delete(id))
    ]

    # and each change is announced on the topic of its kind
    for topic, version, value in (
        ("resource.created", "1", created.json),
        ("resource.updated", "2", updated.json),
        ("resource.deleted", "3", {"id": id, "status": "deleted"}),
    ):
        (record,) = await place.log(topic).of(id)
        said = headers_of(record)
        assert value == json.loads(record.value)
        assert (topic, version, "1", SERVICE) == (
            said["event_type"], said["aggregate_version"], said["schema_version"], said["producer"],
        )  # fmt: skip
        assert UUID(said["event_id"])


async def test_a_write_shows_at_once_in_every_process(resources, replica):
    for number in range(20):
        made = await resources.made(name=f"n{number}")
        assert made == (await replica.get(made["id"])).json
        await replica.put(made["id"], name="changed")
        assert "changed" == (await resources.get(made["id"]))["name"]
        assert 204 == (await resources.delete(made["id"])).status
        assert 404 == (await replica.get(made["id"])).status


async def test_an_update_of_another_version_is_refused(resources):
    made = await resources.made()
    assert 200 == (await resources.put(made["id"], name="two", if_match='"1"')).status
    late = await resources.put(made["id"], name="three", if_match='"1"')
    assert (412, "version_mismatch") == (late.status, late["code"])
    assert 412 == (await resources.delete(made["id"], if_match='"1"')).status
    assert 412 == (await resources.put(made["id"], name="three", if_match='"none"')).status
    assert 200 == (await resources.put(made["id"], name="three", if_match="*")).status
    assert 204 == (await resources.delete(made["id"], if_match='"3"')).status


async def test_of_many_updates_of_one_version_one_wins(resources):
    made = await resources.made()
    writes = [resources.put(made["id"], name=f"n{n}", if_match='"1"') for n in range(8)]
    statuses = sorted(answer.status for answer in await asyncio.gather(*writes))
    assert [200, *[412] * 7] == statuses


async def test_a_repeat_under_a_key_gets_the_first_resource(resources, replica, place):
    key = {"Idempotency-Key": str(uuid4())}
    first = await resources.post({"name": "keyed"}, headers=key)
    again = await replica.post({"name": "keyed"}, headers=key)
    other = await resources.post({"name": "another"}, headers=key)
    assert (201, first.json, "true") == (again.status, again.json, again.headers["Idempotent-Replayed"])
    assert (409, "idempotency_conflict") == (other.status, other["code"])
    assert 1 == len(await place.log("resource.created").of(first["id"]))


async def test_without_a_worker_a_write_is_unconfirmed(servers):
    async with Deployment(await servers.new_topics()) as alone:
        resources = Resources(await alone.web(command_timeout=timedelta(seconds=1.5)))
        assert b"[]" == (await resources.get()).body

        answer = await resources.post(name="later")
        assert (504, "unconfirmed", "1") == (
            answer.status, answer["code"], answer.headers["Retry-After"],
        )  # fmt: skip

        await alone.worker()  # which decides it then

        async def names() -> list[str]:
            return [resource["name"] for resource in (await resources.get()).json]

        assert ["later"] == await until(names, what="what was unconfirmed")


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_body"),
        (b"null", 400, "invalid_body"),
        (b"[]", 400, "invalid_body"),
        (b'{"name": "x"} y', 400, "invalid_body"),
        ({"name": 1}, 400, "validation_failed"),
        ({}, 400, "validation_failed"),
        ({"name": " "}, 400, "validation_failed"),
        ({"name": "x" * 256}, 400, "validation_failed"),
        ({"name": "a\0b"}, 400, "invalid_body"),
        ({"name": "x", "description": "d" * 65_537}, 400, "validation_failed"),
        ({"name": "x", "status": "deleted"}, 400, "validation_failed"),
        ({"name": "x", "description": "d" * 262_144}, 413, "body_too_large"),
        ({"name": "x", "description": "d" * 2**20}, 413, "body_too_large"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_bad_body_is_refused(resources, body, status, code):
    made = await resources.made()
    for answer in (
        await resources.post(body),
        await resources.client.request("PUT", f"{PATH}/{made['id']}", body),
    ):
        assert (status, code) == (answer.status, answer["code"])
        assert (
            {"error", "code", "request_id"} <= set(answer.json) <= {"error", "code", "request_id", "details"}
        )


@pytest.mark.parametrize("key", ["", "k" * 129], ids=["empty", "too long"])
async def test_a_key_out_of_bounds_is_refused(resources, key):
    answer = await resources.post({"name": "x"}, headers={"Idempotency-Key": key})
    assert (400, "validation_failed") == (answer.status, answer["code"])


async def test_members_that_the_server_sets_are_ignored(resources):
    made = await resources.made(id=ABSENT, created_at="2000-01-01T00:00:00Z", version=9, more=[1])
    assert ABSENT != made["id"]
    assert made["created_at"] > "2020"


@pytest.mark.parametrize(
    "id", [ABSENT, "x", "%00", "%FF", "a" * 300, "@wake", "1%2F2"], ids=lambda id: id[:9]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_no_id_is_not_found(resources, method, id):
    body = {"name": "x"} if method == "PUT" else None
    answer = await resources.client.request(method, f"{PATH}/{id}", body)
    assert (404, "not_found") == (answer.status, answer["code"])


async def test_paths_and_methods_that_there_are_not(resources):
    slash = await resources.client.request("GET", f"{PATH}/")
    wrong = await resources.client.request("PATCH", PATH)
    assert (404, "not_found") == (slash.status, slash["code"])
    assert (405, "method_not_allowed") == (wrong.status, wrong["code"])
    assert {"GET", "POST"} <= set(wrong.headers["Allow"].split(","))


# --- lists and watches --------------------------------------------------------------------------------


async def test_pages_cover_everything_once_newest_first(resources, replica):
    names = [(await resources.made(name=f"page {n}", status="inactive"))["id"] for n in range(7)]

    async def listed() -> list[str] | None:
        found, cursor = [], ""
        while True:
            page = await replica.get(query=f"?status=inactive&limit=3{cursor}")
            found += [resource["id"] for resource in page.json]
            if (after := page.headers.get("X-Next-Cursor")) is None:
                return found if set(names) <= set(found) else None
            cursor = f"&cursor={after}"

    found = await until(listed, what="a list of the other process that has them all")
    assert list(reversed(names)) == [id for id in found if id in names]
    assert len(found) == len(set(found))


async def test_lists_of_another_process_lag_by_two_seconds_at_most(resources, replica):
    made = await resources.made(name="lagging")
    await shows(replica, made["id"], made)

    updated = await resources.put(made["id"], name="changed")
    await shows(replica, made["id"], updated.json)

    await resources.delete(made["id"])
    await shows(replica, made["id"], None)


async def shows(replica: Resources, id: str, expected: dict[str, Any] | None) -> None:
    """Wait until the list of a web process has one resource as it is now. Raises: TimeoutError."""

    async def listed() -> bool:
        listed = {resource["id"]: resource for resource in (await replica.get()).json}
        return listed.get(id) == expected

    async with asyncio.timeout(LAG):
        await until(listed, what=f"{expected} in the list")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=zz", "cursor=00", "status=gone", "status="]
)
async def test_a_bad_parameter_is_refused(resources, query):
    answer = await resources.get(query=f"?{query}")
    assert (400, "invalid_parameter") == (answer.status, answer["code"])


async def test_a_watch_shows_what_is_there_and_then_each_change(resources):
    made = await resources.made(name="watched")
    url = f"{resources.client.url}{PATH}/{made['id']}?watch=true"
    async with resources.client.session.get(url) as stream:
        kinds = (line.decode()[7:-1] async for line in stream.content if line.startswith(b"event: "))
        events = (kind async for kind in kinds if kind != "BOOKMARK")
        assert "ADDED" == await anext(events)
        await resources.put(made["id"], name="changed")
        assert "MODIFIED" == await anext(events)
        await resources.delete(made["id"])
        assert "DELETED" == await anext(events)


# --- Kafka --------------------------------------------------------------------------------------------


async def test_a_kafka_client_writes_and_gets_a_result(resources, place):
    id, command_id = str(uuid4()), str(uuid4())
    command = {"type": "resource.create", "id": id, "command_id": command_id, "name": "over Kafka"}
    for _ in range(2):
        await place.log("resource.commands").publish(id, command)

    results = place.log("command-results")
    await results.wait_for(id, lambda result: result["outcome"] == "duplicate")
    first, again = await results.bodies(id)
    assert ("applied", 1, "resource") == (first["outcome"], first["version"], first["kind"])
    assert first["document"] == again["document"] == (await resources.get(id)).json


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": "resource.create", "command_id": "c"}, "invalid_schema"),
        ({"type": "resource.paint", "id": "a", "command_id": "c"}, "invalid_schema"),
        ({"type": "resource.delete", "id": "b", "command_id": "c"}, "bad_key"),
        ({"type": "resource.delete", "id": "@wake", "command_id": "c"}, "invalid_schema"),
        (b"no JSON", "invalid_schema"),
        (None, "null_value"),
    ],
    ids=str,
)
async def test_a_bad_command_is_parked(place, value, reason):
    key = f"bad-{uuid4()}"
    await place.log("resource.commands").publish(key, value)

    async def parked() -> str | None:
        letters = await place.log("resource.commands.dlq").of(key)
        return headers_of(letters[0])["dlq_reason"] if letters else None

    assert reason == await until(parked, what="a dead letter")


async def test_a_refusal_reaches_the_kafka_client(place):
    id = str(uuid4())
    command = {"type": "resource.update", "id": id, "command_id": "u", "name": "x"}
    await place.log("resource.commands").publish(id, command)
    result = await place.log("command-results").wait_for(id)
    assert ("rejected", "RESOURCE_NOT_FOUND") == (result["outcome"], result["code"])
