"""Tasks: asked for over REST and Kafka, started by resources, done by executors (resources contract, 4)."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import PermanentError
from domain.policy import Policy
from domain.work import CANCELLED, OVERTIME, Limits
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, headers_of

PATH = "/api/v1/tasks"
RESOURCES_PATH = "/api/v1/resources"
LIMITS = Limits(
    attempts=3, lease=timedelta(seconds=1), time=timedelta(seconds=2), first_pause=timedelta(milliseconds=50)
)
MEMBERS = [
    "id", "resource_id", "action", "status", "result", "error", "attempt", "metadata",
    "created_at", "updated_at",
]  # fmt: skip
ANNOUNCED = ["task.process", "task.completed", "task.failed"]


@dataclass
class Workshop:
    """Handlers that note what they are given, and do what a test has told them for its resource.

    Attributes:
        seen: What was begun and ended, in order: the resource, the task, the attempt and `begun` or `ended`.
    """

    seen: list[tuple[str, str, int, str]] = field(default_factory=list)
    pieces: list[Any] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    @property
    def handlers(self) -> Mapping[str, Any]:
        return {
            "fail": self.fail, "refuse": self.refuse, "flaky": self.flaky, "hang": self.hang,
            "wait": self.wait, "block": self.block, "big": self.big,
        }  # fmt: skip

    def begun(self, piece: Any) -> None:
        self.pieces.append(piece)
        self.seen.append((piece.resource_id, piece.id, piece.attempt, "begun"))

    def ended(self, piece: Any) -> None:
        self.seen.append((piece.resource_id, piece.id, piece.attempt, "ended"))

    def of(self, resource_id: str) -> list[tuple[str, int, str]]:
        return [(task, attempt, what) for of, task, attempt, what in self.seen if of == resource_id]

    async def fail(self, piece: Any) -> None:
        self.begun(piece)
        raise ValueError("no luck")

    async def refuse(self, piece: Any) -> None:
        self.begun(piece)
        raise PermanentError("never")

    async def flaky(self, piece: Any) -> str:
        self.begun(piece)
        if piece.attempt < 3:
            raise ConnectionError("not yet")
        return f"at last, {piece.metadata['who']}"

    async def hang(self, piece: Any) -> None:
        self.begun(piece)
        await asyncio.sleep(3600)

    async def wait(self, piece: Any) -> str:
        self.begun(piece)
        await asyncio.sleep(float(piece.metadata["seconds"]))
        self.ended(piece)
        return "waited"

    def block(self, piece: Any) -> str:
        """A plain function, which would hold up the loop."""
        self.threads.add(threading.current_thread().name)
        time.sleep(float(piece.metadata["seconds"]))
        return "blocked"

    def big(self, piece: Any) -> str:
        return "x" * 100_000


@dataclass
class Tasks:
    """The API of one web process."""

    client: Client

    async def post(self, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:
        return await self.client.request("POST", PATH, members, headers=headers)

    async def asked(self, action: str, resource_id: str, **metadata: str) -> str:
        answer = await self.post(resource_id=resource_id, action=action, metadata=metadata)
        assert answer.status == 201, answer
        return str(answer["id"])

    async def get(self, id: str) -> Answer:
        return await self.client.get(f"{PATH}/{id}")

    async def once(self, id: str, status: str, *, within: float = 20.0) -> dict[str, Any]:
        """The task once it has a status."""

        async def has() -> dict[str, Any] | None:
            answer = await self.get(id)
            return answer.json if answer.status == 200 and answer["status"] == status else None

        found = await until(has, within=within, what=f"{status} of {id}")
        assert found is not None
        return found


@pytest.fixture(scope="module")
def workshop():
    return Workshop()


@pytest.fixture(scope="module")
async def place(servers, workshop):
    async with Deployment(await servers.new_topics(), policy=Policy(task_limits=LIMITS)) as deployment:
        await deployment.worker()
        await deployment.executor(workshop.handlers)
        yield deployment


@pytest.fixture(scope="module")
async def tasks(place):
    return Tasks(await place.web())


def a_resource() -> str:
    return f"r-{uuid4()}"


async def announced(place: Deployment, resource_id: str) -> list[str]:
    """The public records about tasks of a resource, by topic."""
    return [topic for topic in ANNOUNCED for _ in await place.log(topic).of(resource_id)]


# --- what becomes of a task ----------------------------------------------------------------------------


async def test_a_task_is_done_by_the_default_handler(tasks, place):
    # when somebody asks for work that has no handler of its own
    resource_id = a_resource()
    asked = await tasks.post(resource_id=resource_id, action="resize", metadata={"size": "large"})
    done = await tasks.once(asked["id"], "completed")

    # then it was pending at first, and is completed
    assert (201, f"{PATH}/{asked['id']}", '"1"', "pending") == (
        asked.status, asked.headers["Location"], asked.headers["ETag"], asked["status"],
    )  # fmt: skip
    assert UUID(asked["id"]).version == 4
    assert MEMBERS == list(asked.json) == list(done)
    assert (f"Completed resize for resource {resource_id}", "", 1, {"size": "large"}) == (
        done["result"], done["error"], done["attempt"], done["metadata"],
    )  # fmt: skip

    # and its queue and its end are announced under the resource, each with an id of its own
    (queued,) = await place.log("task.process").of(resource_id)
    (completed,) = await place.log("task.completed").of(resource_id)
    same = {"task_id": asked["id"], "resource_id": resource_id, "action": "resize"}
    assert {**same, "status": "pending", "metadata": {"size": "large"}} == json.loads(queued.value)
    assert {**same, "status": "completed", "result": done["result"]} == json.loads(completed.value)
    said = [headers_of(record) for record in (queued, completed)]
    assert ["task.process", "task.completed"] == [each["event_type"] for each in said]
    assert 2 == len({UUID(each["event_id"]) for each in said})


async def test_a_task_that_fails_is_tried_again_until_it_succeeds(tasks, place, workshop):
    resource_id = a_resource()
    done = await tasks.once(await tasks.asked("flaky", resource_id, who="Ada"), "completed")
    assert ("at last, Ada", 3) == (done["result"], done["attempt"])
    assert [1, 2, 3] == [attempt for _, attempt, _ in workshop.of(resource_id)]
    assert ["task.process"] * 3 + ["task.completed"] == await announced(place, resource_id)


async def test_a_task_that_fails_each_time_has_failed(tasks, place, workshop):
    resource_id = a_resource()
    failed = await tasks.once(await tasks.asked("fail", resource_id), "failed")
    assert ("", "ValueError: no luck", LIMITS.attempts) == (
        failed["result"], failed["error"], failed["attempt"],
    )  # fmt: skip
    assert LIMITS.attempts == len(workshop.of(resource_id))
    assert ["task.process"] * 3 + ["task.failed"] == await announced(place, resource_id)
    (record,) = await place.log("task.failed").bodies(resource_id)
    assert ("failed", "ValueError: no luck") == (record["status"], record["error"])


async def test_a_task_that_cannot_succeed_is_tried_once(tasks, workshop):
    resource_id = a_resource()
    failed = await tasks.once(await tasks.asked("refuse", resource_id), "failed")
    assert ("PermanentError: never", 1) == (failed["error"], failed["attempt"])
    assert 1 == len(workshop.of(resource_id))


async def test_an_attempt_has_a_time_limit(tasks, workshop):
    resource_id = a_resource()
    failed = await tasks.once(await tasks.asked("hang", resource_id), "failed", within=40)
    assert (OVERTIME, LIMITS.attempts) == (failed["error"], failed["attempt"])
    assert LIMITS.attempts == len(workshop.of(resource_id))


async def test_a_result_is_kept_up_to_its_bound(tasks):
    done = await tasks.once(await tasks.asked("big", a_resource()), "completed")
    assert "x" * 65_536 == done["result"]


# --- side by side --------------------------------------------------------------------------------------


async def test_tasks_of_one_resource_follow_each_other_and_others_do_not_wait(tasks, workshop):
    # given a resource that has several tasks, and others
    slow, others = a_resource(), [a_resource() for _ in range(5)]
    ids = [await tasks.asked("wait", slow, seconds="0.4") for _ in range(3)]
    quick = [await tasks.asked("resize", other) for other in others]

    # then the others are done before the last of them
    for id in quick:
        await tasks.once(id, "completed")
    assert (await tasks.get(ids[-1]))["status"] != "completed"

    # and those of one resource come one after the other, in order
    for id in ids:
        await tasks.once(id, "completed")
    assert [(id, 1, what) for id in ids for what in ("begun", "ended")] == workshop.of(slow)


async def test_a_plain_function_does_not_hold_up_the_others(tasks, workshop):
    blocked = await tasks.asked("block", a_resource(), seconds="1.5")
    began = time.monotonic()
    await tasks.once(await tasks.asked("resize", a_resource()), "completed")
    assert (await tasks.get(blocked))["status"] != "completed"
    assert time.monotonic() - began < 1.5
    await tasks.once(blocked, "completed")
    assert "MainThread" not in workshop.threads


# --- cancelling, and other commands of Kafka clients ------------------------------------------------------


async def test_a_running_task_can_be_cancelled(tasks, place, workshop):
    resource_id = a_resource()
    id = await tasks.asked("hang", resource_id)
    await tasks.once(id, "processing")
    cancel = {"type": "task.cancel", "id": id, "command_id": str(uuid4())}
    await place.log("task.commands").publish(id, cancel)
    ended = await tasks.once(id, "failed")
    assert (CANCELLED, 1) == (ended["error"], ended["attempt"])
    assert 1 == len(workshop.of(resource_id))
    assert ["task.process", "task.failed"] == await announced(place, resource_id)


async def test_a_stranger_ends_no_task(tasks, place):
    resource_id = a_resource()
    id = await tasks.asked("wait", resource_id, seconds="0.5")
    await tasks.once(id, "processing")
    told = str(uuid4())
    complete = {
        "type": "task.complete",
        "id": id,
        "command_id": told,
        "claim": str(uuid4()),
        "result": "mine",
    }
    await place.log("task.commands").publish(id, complete)
    refused = await place.log("command-results").wait_for(id, lambda body: body["command_id"] == told)
    assert "CLAIM_LOST" == refused["code"]
    assert "waited" == (await tasks.once(id, "completed"))["result"]


async def test_a_command_that_comes_twice_starts_one_task(tasks, place, workshop):
    resource_id, id = a_resource(), str(uuid4())
    create = {
        "type": "task.create", "id": id, "command_id": str(uuid4()), "resource_id": resource_id,
        "action": "wait", "metadata": {"seconds": "0"},
    }  # fmt: skip
    await place.log("task.commands").publish_all([(id, create), (id, create)])
    await tasks.once(id, "completed")
    again = str(uuid4())
    await place.log("task.commands").publish(id, {**create, "command_id": again})
    refused = await place.log("command-results").wait_for(id, lambda body: body["command_id"] == again)
    assert "RESOURCE_CONFLICT" == refused["code"]
    assert [(id, 1, "begun"), (id, 1, "ended")] == workshop.of(resource_id)
    assert ["task.process", "task.completed"] == await announced(place, resource_id)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("r", "{", "invalid_schema"),
        ("r", {"task_id": "t", "resource_id": "r"}, "invalid_schema"),
        ("other", {"task_id": "t", "resource_id": "r", "action": "a"}, "bad_key"),
        (None, {"task_id": "t", "resource_id": "r", "action": "a"}, "bad_key"),
    ],
)
async def test_a_bad_record_in_the_queue_is_parked_and_stops_nothing(tasks, place, key, value, error):
    (partition, offset) = await place.log("task.process").publish(key, value)

    async def parked() -> list[str]:
        records = [headers_of(record) for record in await place.log("task.process.dlq").read()]
        return [
            each["dlq_reason"]
            for each in records
            if (each["dlq_partition"], each["dlq_offset"]) == (str(partition), str(offset))
        ]

    assert [error] == await until(parked, what="a dead letter")
    await tasks.once(await tasks.asked("resize", a_resource()), "completed")


async def test_a_record_of_a_task_that_nobody_knows_changes_nothing(tasks, place):
    resource_id = a_resource()
    stranger = {"task_id": str(uuid4()), "resource_id": resource_id, "action": "resize"}
    await place.log("task.process").publish(resource_id, stranger)
    await tasks.once(await tasks.asked("resize", resource_id), "completed")  # in the same line, after it
    assert 404 == (await tasks.get(stranger["task_id"])).status


# --- REST ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"action": "x"}, "resource_id"),
        ({"resource_id": "", "action": "x"}, "resource_id"),
        ({"resource_id": "r" * 101, "action": "x"}, "resource_id"),
        ({"resource_id": "r", "action": ""}, "action"),
        ({"resource_id": "r", "action": "x", "metadata": {"a": 1}}, "metadata"),
        ({"resource_id": "r", "action": "x", "metadata": {str(n): "" for n in range(65)}}, "metadata"),
        ({"resource_id": "r", "action": "x", "metadata": {"a": "x" * 8192}}, "metadata"),
    ],
)
async def test_what_is_out_of_bounds_is_refused(tasks, members, field):
    answer = await tasks.post(**members)
    assert 400 == answer.status
    assert field in answer.body.decode()


async def test_lists_have_the_newest_first_and_filter_by_status(tasks):
    ids = [await tasks.asked("resize", a_resource()) for _ in range(3)]
    for id in ids:
        await tasks.once(id, "completed")

    async def listed() -> bool:
        page = (await tasks.client.get(f"{PATH}?status=completed&limit=3")).json
        return [each["id"] for each in page] == ids[::-1]

    await until(listed, what="the three newest")
    pending = (await tasks.client.get(f"{PATH}?status=pending")).json
    assert not {*ids} & {each["id"] for each in pending}
    assert 400 == (await tasks.client.get(f"{PATH}?status=done")).status


async def test_a_repeated_request_asks_once(tasks, place):
    resource_id, key = a_resource(), {"Idempotency-Key": str(uuid4())}
    first = await tasks.post(key, resource_id=resource_id, action="resize")
    again = await tasks.post(key, resource_id=resource_id, action="resize")
    other = await tasks.post(key, resource_id=resource_id, action="shrink")
    assert [201, 201, 409] == [first.status, again.status, other.status]
    assert first["id"] == again["id"]
    await tasks.once(first["id"], "completed")
    assert ["task.process", "task.completed"] == await announced(place, resource_id)


# --- tasks of resources ----------------------------------------------------------------------------------


async def test_each_change_of_a_resource_starts_its_task_once(tasks, place):
    # when a resource is created, replaced and deleted
    client = tasks.client
    created = (await client.request("POST", RESOURCES_PATH, {"name": "one"})).json
    id = created["id"]
    await client.request("PUT", f"{RESOURCES_PATH}/{id}", {"name": "two"})
    await client.request("DELETE", f"{RESOURCES_PATH}/{id}")

    # then each event has started one task, whose id says by which event it was
    events = [
        headers_of((await place.log(f"resource.{how}").of(id))[0])
        for how in ("created", "updated", "deleted")
    ]
    ids = [f"auto-{of}" for of in (id, *(each["event_id"] for each in events[1:]))]
    found = [await tasks.once(each, "completed") for each in ids]
    actions = ["process_new_resource", "reprocess_resource", "cleanup_resource"]
    assert actions == [each["action"] for each in found]
    assert [f"Completed {action} for resource {id}" for action in actions] == [
        each["result"] for each in found
    ]
    assert ["task.process"] * 3 + ["task.completed"] * 3 == await announced(place, id)


async def test_the_trace_of_a_request_goes_through_to_the_end_of_its_task(tasks, place):
    trace = f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"
    headers = {"traceparent": trace, "X-Request-ID": str(uuid4())}
    created = await tasks.client.request("POST", RESOURCES_PATH, {"name": "traced"}, headers=headers)
    id = created["id"]
    await tasks.once(f"auto-{id}", "completed")
    records = [
        record for topic in ("resource.created", *ANNOUNCED) for record in await place.log(topic).of(id)
    ]
    said = [headers_of(record) for record in records]
    assert ["resource.created", "task.process", "task.completed"] == [each["event_type"] for each in said]
    assert {trace[:35]} == {each["traceparent"][:35] for each in said}
