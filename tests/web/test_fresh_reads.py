"""A read of one entity of a fresh collection, when it cannot be known whether the view is up to date."""

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.json import encode
from tests.tables.given import Record
from tests.web import serving as module
from tests.web.serving import serving

ID = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
RESOURCE = {
    "id": ID, "name": "one", "description": "", "status": "active",
    "created_at": "2026-11-26T22:09:32Z", "updated_at": "2026-11-26T22:09:32Z",
}  # fmt: skip
STATE = {"revision": 1, "version": 1, "deleted_at": None, "offsets": {}, "recent": [], "resource": RESOURCE}


@pytest.fixture
async def served(monkeypatch):
    """A web process that holds a resource, and whose brokers do not say where partitions end."""

    async def unknown(partitions):
        raise KafkaConnectionError("no broker answers")

    monkeypatch.setattr(module, "nothing_came", unknown)
    async with serving() as served:
        served.kinds["resource"].apply(Record(ID.encode(), encode(STATE), 0, 0))
        yield served


@pytest.mark.parametrize("healthy", [True, False], ids=["others answer", "none answers"])
async def test_it_is_refused(served, healthy):
    """Also where no broker answers: this process alone may be cut off, while others answer writes."""
    served.health.kafka_healthy = healthy
    answer = await served.client.get(f"/api/v1/resources/{ID}")
    assert (503, "unavailable") == (answer.status, answer["code"])
    assert int(answer.headers["Retry-After"]) >= 1


async def test_lists_ask_no_broker(served):
    served.health.kafka_healthy = False
    answer = await served.client.get("/api/v1/resources")
    assert (200, [RESOURCE]) == (answer.status, answer.json)
