"""Writes to several kinds by one submitter: each by its own topic, results and view."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from domain.cluster.commands import Delete
from domain.errors import Rejected, Unavailable
from serving.submit import Submitter, WriteResult
from serving.writes import KindWrites
from streams.cluster.messages import ResultMessage
from streams.json import encode
from streams.kafka.partitions import partition_of
from streams.messages import EntityResult
from streams.topics import Topics
from tables.cluster import ClusterView
from tests.tables.given import Record, document, value
from tests.tables.kinds import FLOW, Fill, jar, jar_view, record
from tests.web.serving import KAFKA, OWNER
from tests.web.writing import Kafka, Ready
from web.cluster.writes import ClusterWrites

JAR_RESULTS = "test.command-results"
ID = "0c0ffee0-0000-4000-8000-00000000000a"


class World:
    """A submitter, and what it writes to: jars and clusters."""

    def __init__(self) -> None:
        self.kafka, self.health = Kafka(), Ready()
        parts: dict[str, Any] = {"producer": self.kafka, "health": self.health}
        self.submitter = Submitter(**parts, timeout=timedelta(seconds=30))
        self.jar_view, self.cluster_view = jar_view(), ClusterView()
        self.jars = KindWrites(self.submitter, FLOW.deployed(Topics("test.").of), self.jar_view)
        self.clusters = ClusterWrites(self.submitter, self.cluster_view, KAFKA.topics)

    async def filling(self, *, keyed: bool = False) -> asyncio.Task[WriteResult]:
        """A jar's write that was published."""
        command = Fill(id=ID, command_id="c", label="jam")
        return await self._published(self.jars.submit(command, origin={"request_id": "r"}, keyed=keyed))

    async def deleting(self) -> asyncio.Task[WriteResult]:
        """A cluster's write that was published, with the same ids."""
        delete = Delete(command_id="c", cluster_id=ID, user_email=OWNER, triggered_by="api_request")
        return await self._published(self.clusters.submit(delete))

    async def _published(self, write: Any) -> asyncio.Task[WriteResult]:
        before = len(self.kafka.outputs)
        task = asyncio.create_task(write)
        while len(self.kafka.outputs) == before:
            await asyncio.sleep(0)
        return task

    def decide(self, topic: str, member: str, *, code: str | None = None) -> None:
        """Let a result topic say what became of the command."""
        result = {"command_id": "c", "outcome": "applied", "revision": 1, member: {"id": ID}}
        if code is not None:
            result = {"command_id": "c", "outcome": "rejected", "code": code}
        headers = (("command_id", b"c"), ("triggered_by", b"api_request"))
        self.submitter.on_result(Record(ID.encode(), encode(result), headers=headers, topic=topic))

    def show_jar(self) -> None:
        self.jar_view.apply(record(jar(ID)))

    def show_cluster(self) -> None:
        self.cluster_view.apply(Record(ID.encode(), value(document(ID))))


async def test_a_command_of_a_kind_goes_to_its_topic():
    # given
    world = World()

    # when
    write = await world.filling(keyed=True)

    # then
    (output,) = world.kafka.outputs
    assert ("test.jar.commands", ID.encode()) == (output.topic, output.key)
    assert {"type": "jar.fill", "label": "jam"}.items() <= msgspec.json.decode(output.value).items()
    assert {
        "content_type": "application/json",
        "request_id": "r",
        "answered_by": "state",
        "idempotency_keyed": "true",
    } == dict(output.headers)
    write.cancel()


async def test_a_write_ends_once_the_view_of_its_kind_shows_it():
    # given
    world = World()
    write = await world.filling()

    # when it is decided, and another kind shows this id
    world.decide(JAR_RESULTS, "document")
    world.show_cluster()
    for _ in range(10):
        await asyncio.sleep(0)

    # then it waits for its own
    assert not write.done()
    world.show_jar()
    assert {"id": ID} == msgspec.json.decode((await write).document)


async def test_results_of_one_kind_answer_no_write_of_another():
    # given writes to two kinds with the same ids
    world = World()
    filling, deleting = await world.filling(), await world.deleting()
    world.show_jar()
    world.show_cluster()

    # when
    world.decide(KAFKA.topics.results, "cluster")
    result = await deleting

    # then
    assert {"id": ID} == msgspec.json.decode(result.document)
    assert not filling.done()
    world.decide(JAR_RESULTS, "document", code="RESOURCE_NOT_FOUND")
    with pytest.raises(Rejected) as refused:
        await filling
    assert "RESOURCE_NOT_FOUND" == refused.value.code


async def test_a_partition_without_leader_is_named_by_the_kind():
    world = World()
    world.health.unavailable = {("test.jar.commands", partition_of(ID.encode(), 2))}
    command = Fill(id=ID, command_id="c", label="jam")
    with pytest.raises(Unavailable, match="The partition of this jar has no leader"):
        await world.jars.submit(command, origin={"request_id": "r"}, keyed=False)


def test_what_is_decoded_of_a_result_is_what_agents_send():
    def members(type_):
        return {field.name: (field.type, field.default) for field in msgspec.structs.fields(type_)}

    of_clusters, of_kinds, read = members(ResultMessage), members(EntityResult), members(WriteResult)
    assert of_clusters.pop("cluster")[1] == read["document"][1]
    assert (int | str, 0) == read.pop("version")  # states say it as a text
    assert of_clusters.items() <= read.items()
    assert (int, 0) == of_kinds.pop("version")
    for of_its_own in ("kind", "outcome"):
        del of_kinds[of_its_own]
    assert of_kinds.items() <= read.items()
