"""What becomes of one record: reports, attempts, dead letters."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaTimeoutError

from examples.controllers.contract import (
    Done,
    Failure,
    Fatal,
    Misconfigured,
    Outcome,
    Skipped,
    Transient,
    Waiting,
)
from examples.controllers.handler import Headers
from tests.examples.given import CLUSTER_ID, SETTINGS, Consumed, Kafka, Scripted, event, handler, record

BUSY = Transient("Throttled", "busy")


async def handled(controller: Scripted, *records: Consumed) -> Kafka:
    """Everything sent and waited for while a controller handles some records, one after the other."""
    kafka = Kafka()
    handle = handler(controller, kafka).handle
    for each in records:
        await handle(each)
    return kafka


async def test_done_is_reported_as_available_at_the_events_generation() -> None:
    kafka = await handled(Scripted([Done("made", metadata={"zone": "a"})]), record(event(generation=3)))
    [sent] = kafka.sent
    assert (sent.topic, sent.key) == ("cluster-status-reports", CLUSTER_ID.encode())
    assert sent.body | {"report_id": "any"} == {
        "report_id": "any",
        "cluster_id": CLUSTER_ID,
        "controller_name": "scripted",
        "observed_generation": 3,
        "conditions": [{"type": "Available", "status": "True", "reason": "Reconciled", "message": "made"}],
        "metadata": {"zone": "a"},
        "last_error": None,
    }


async def test_waiting_is_reported_as_not_available_without_an_error_and_not_tried_again() -> None:
    kafka = await handled(Scripted([Waiting("NetworkNotReady", "waiting")]), record(event()))
    [report] = kafka.reports
    assert report["conditions"][0]["status"] == "False"
    assert (report["last_error"], kafka.waits) == (None, [])


async def test_skipped_says_nothing() -> None:
    assert (await handled(Scripted([Skipped("unknown")]), record(event()))).sent == []


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(record(event(platform="aws")), id="other platform"),
        pytest.param(record(event("cluster.audited")), id="other event type"),
        pytest.param(replace(record(event(platform="aws")), headers=[]), id="other platform without headers"),
        pytest.param(
            Consumed(b"{no json", [("platform", b"aws")]), id="header rules it out before it is parsed"
        ),
    ],
)
async def test_filtered_events_are_finished_with_silently(when: Consumed) -> None:
    controller = Scripted()
    assert ((await handled(controller, when)).sent, controller.reconciled) == ([], [])


async def test_unparseable_is_parked_as_it_came_with_reason_and_origin() -> None:
    kafka = await handled(Scripted(), Consumed(b"{no json", [("event_type", b"cluster.created")]))
    [parked] = kafka.sent
    assert (parked.topic, parked.value) == ("cluster-events.scripted.dlq", b"{no json")
    assert parked.key == CLUSTER_ID.encode()
    assert parked.headers.pop("dlq_error")
    assert parked.headers == {
        "event_type": "cluster.created",
        "dlq_reason": "unparseable",
        "dlq_topic": "cluster-events",
        "dlq_partition": "3",
        "dlq_offset": "42",
    }


async def test_transient_failure_is_reported_and_tried_again_until_it_works() -> None:
    kafka = await handled(Scripted([BUSY, BUSY, Done("made")]), record(event()))
    assert kafka.waits == [10.0, 20.0]
    assert [report["conditions"][0]["status"] for report in kafka.reports] == ["False", "False", "True"]
    assert [(report["last_error"] or {}).get("retryAfter") for report in kafka.reports] == [
        "10000ms",
        "20000ms",
        None,
    ]
    assert kafka.reports[0]["last_error"]["errorType"] == "Transient"
    assert kafka.reports[2]["last_error"] is None


async def test_after_five_attempts_the_event_is_parked_and_the_next_reconcile_recovers() -> None:
    controller = Scripted([BUSY] * 5)
    kafka = await handled(controller, record(event()), record(event("cluster.reconcile")))
    assert kafka.waits == [10.0, 20.0, 40.0, 80.0]
    [parked] = kafka.parked
    assert parked.headers["dlq_reason"] == "attempts_exhausted"
    assert kafka.reports[-1]["conditions"][0]["status"] == "True"


async def test_a_parked_event_that_is_put_back_is_worked_on() -> None:
    controller = Scripted([BUSY] * 5)
    await handled(controller, record(event()), record(event()))
    assert len(controller.reconciled) == 6


@pytest.mark.parametrize(
    ("given", "error_type"),
    [
        pytest.param(Misconfigured("UnknownRegion", "no such region"), "Configuration", id="misconfigured"),
        pytest.param(Fatal("Gone", "gone"), "Fatal", id="fatal"),
    ],
)
async def test_failures_that_no_retry_helps_are_reported_once(given: Failure, error_type: str) -> None:
    kafka = await handled(Scripted([given]), record(event()))
    [report] = kafka.reports
    assert (report["last_error"]["errorType"], kafka.waits, kafka.parked) == (error_type, [], [])


@pytest.mark.parametrize(
    ("given", "error_type"),
    [
        pytest.param(ConnectionResetError("reset"), "Transient", id="network"),
        pytest.param(TimeoutError(), "Transient", id="time-out"),
        pytest.param(KeyError("oops"), "System", id="our own defect"),
    ],
)
async def test_any_other_exception_is_tried_again(given: Exception, error_type: str) -> None:
    kafka = await handled(Scripted([given, Done("made")]), record(event()))
    assert (kafka.reports[0]["last_error"]["errorType"], kafka.waits) == (error_type, [10.0])


async def test_work_that_never_ends_is_a_transient_failure() -> None:
    class Stuck(Scripted):
        async def reconcile(self, cluster: object) -> Outcome:
            await asyncio.Event().wait()
            raise AssertionError

    kafka = Kafka()
    settings = replace(SETTINGS, work_limit=0.01, backoff=replace(SETTINGS.backoff, attempts=1))
    await handler(Stuck(), kafka, settings).handle(record(event()))
    assert kafka.reports[0]["last_error"]["errorType"] == "Transient"


async def test_reconcile_at_a_known_generation_is_done_again_and_the_past_is_not() -> None:
    controller = Scripted()
    await handled(
        controller,
        record(event("cluster.created", 1)),
        record(event("cluster.created", 1)),
        record(event("cluster.reconcile", 1)),
        record(event("cluster.updated", 2)),
        record(event("cluster.reconcile", 1)),
    )
    assert controller.reconciled == [1, 1, 2]


async def test_deleted_is_torn_down_from_the_snapshot_without_a_report() -> None:
    controller = Scripted()
    kafka = await handled(controller, record(event("cluster.deleted", 2)))
    assert (controller.torn_down, kafka.sent) == (["one"], [])


async def test_tear_down_is_tried_again_and_parked_in_the_end_without_a_report() -> None:
    kafka = await handled(Scripted([BUSY] * 5), record(event("cluster.deleted")))
    assert (kafka.reports, len(kafka.waits), len(kafka.parked)) == ([], 4, 1)


async def test_tear_down_that_can_not_work_is_parked_for_people() -> None:
    kafka = await handled(Scripted([Fatal("Denied", "denied")]), record(event("cluster.deleted")))
    assert (kafka.reports, [sent.headers["dlq_reason"] for sent in kafka.parked]) == (
        [],
        ["tear_down_failed"],
    )


async def test_a_report_that_kafka_does_not_take_leaves_the_record_unfinished() -> None:
    class Down(Kafka):
        async def send(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> None:
            raise KafkaTimeoutError

    controller, kafka = Scripted(), Down()
    handle = handler(controller, kafka).handle
    for _ in range(2):  # the second time isn't taken for a repetition
        with pytest.raises(KafkaTimeoutError):
            await handle(record(event()))
    assert controller.reconciled == [1, 1]
