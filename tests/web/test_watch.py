"""Watches on real sockets; the feed is filled by hand instead of by Kafka."""

import asyncio
import logging
import socket
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from tests.conftest import until
from tests.e2e.product import CONTROLLER
from tests.web.answers import RESPONSE_TIME, UUID4, check, check_error
from tests.web.serving import OWNER, Served, serving
from tests.web.watching import CLUSTERS, END, watching

ONE, TWO = str(uuid4()), str(uuid4())


@pytest.fixture
async def served():
    async with serving(cors_origins=("*",)) as served:
        yield served


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


# --- what is told -----------------------------------------------------------------------------------------


async def test_the_beginning_is_what_get_shows_and_then_every_change_follows(served):
    served.put(ONE)
    served.put(TWO, minute=1)
    listed = (await served.client.list())["clusters"]
    async with watching(served.client) as watch:
        assert [("ADDED", cluster) for cluster in listed] == await watch.beginning()
        served.put(ONE, phase="Ready")
        changed = await watch.next()
        assert ("MODIFIED", (await served.client.get(ONE)).json) == (changed.kind, changed.data)
        served.put(ONE, phase="Ready", deleted=True)
        gone = await watch.next()
        assert ("DELETED", changed.data) == (gone.kind, gone.data)
        assert watch.last_id == gone.id


async def test_every_answer_s_headers_are_there_before_the_stream_begins(served):
    async with watching(served.client) as watch:
        headers = watch.response.headers
        assert "text/event-stream" == headers["Content-Type"]
        assert "no-cache" == headers["Cache-Control"]
        assert UUID4.fullmatch(headers["X-Request-ID"])
        assert RESPONSE_TIME.fullmatch(headers["X-Response-Time"])
        assert "*" == headers["Access-Control-Allow-Origin"]


async def test_each_sees_what_the_list_shows_them(served):
    other = served.client.as_("else@example.com")
    served.put(ONE, platform="aws")
    async with (
        watching(served.client) as owners,
        watching(other) as others,
        watching(served.client.as_(CONTROLLER)) as everyones,
        watching(served.client.as_(CONTROLLER), created_by=other.email) as theirs,
        watching(served.client, platform="AWS", status="pending") as filtered,
    ):
        assert [1, 0, 1, 0, 1] == [
            len(await watch.beginning()) for watch in (owners, others, everyones, theirs, filtered)
        ]
        served.put(TWO, owner=other.email)
        served.put(ONE, platform="aws", phase="Ready")
        told = [(await watch.next()).kind for watch in (owners, others, everyones, theirs, filtered)]
        assert ["MODIFIED", "ADDED", "ADDED", "ADDED", "DELETED"] == told
        assert "MODIFIED" == (await everyones.next()).kind


async def test_a_filter_without_a_value_is_none_for_watches_too(served):
    served.put(ONE)
    served.put(TWO, owner="else@example.com")
    query = {"platform": "", "status": "", "created_by": ""}
    async with (
        watching(served.client, **query) as owners,
        watching(served.client.as_(CONTROLLER), **query) as everyones,
    ):
        assert [1, 2] == [len(await watch.beginning()) for watch in (owners, everyones)]


async def test_the_watch_of_one_cluster_ends_with_it(served):
    served.put(ONE)
    served.put(TWO)
    async with watching(served.client, ONE) as watch:
        ((kind, cluster),) = await watch.beginning()
        assert ("ADDED", ONE) == (kind, cluster["id"])
        served.put(TWO, phase="Ready")
        served.put(ONE, phase="Ready")
        served.put(ONE, phase="Ready", deleted=True)
        assert ["MODIFIED", "DELETED"] == [event.kind for event in await watch.rest()]
    check_error(await served.client.get(f"{ONE}?watch=true"), 404, "RESOURCE_NOT_FOUND")


async def test_one_cluster_is_shown_to_those_who_may_see_it(served):
    served.put(ONE)
    stranger = served.client.as_("else@example.com")
    check_error(await stranger.get(f"{ONE}?watch=true"), 404, "RESOURCE_NOT_FOUND", "Cluster not found")
    check_error(await served.client.get(f"{TWO}?watch=true"), 404, "RESOURCE_NOT_FOUND", "Cluster not found")
    check_error(await served.client.get("nonsense?watch=true"), 400, "VALIDATION_FAILED")
    check_error(await served.client.as_(None).get(f"{ONE}?watch=true"), 401, "AUTH_REQUIRED")
    async with watching(served.client.as_(CONTROLLER), ONE.upper()) as watch:
        assert 1 == len(await watch.beginning())


@pytest.mark.parametrize("query", ["watch=false", "watch=", "watch=1", "watch"])
async def test_without_true_it_is_a_list(served, query):
    assert 0 == check(await served.client.list(f"?{query}"), 200)["total"]


async def test_head_shows_the_list_s_headers(served):
    answer = await served.client.request("HEAD", f"{CLUSTERS}?watch=true")
    assert (200, b"") == (answer.status, answer.body)
    assert answer.headers["Content-Type"].startswith("application/json")


# --- coming back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_query", [False, True])
async def test_a_reader_goes_on_where_it_left_off(served, by_query):
    served.put(ONE)
    async with watching(served.client) as watch:
        await watch.beginning()
    served.put(ONE, phase="Ready")
    served.put(TWO)
    how = {"last_event_id": watch.last_id} if by_query else {"since": watch.last_id}
    async with watching(served.client, **how) as again:
        told = await again.beginning()
        assert [("MODIFIED", ONE), ("ADDED", TWO)] == [(kind, data["id"]) for kind, data in told]


async def test_who_comes_back_to_one_cluster_learns_that_it_is_gone(served):
    served.put(ONE)
    async with watching(served.client, ONE) as watch:
        await watch.beginning()
    served.put(ONE, deleted=True)
    async with watching(served.client, ONE, since=watch.last_id) as again:
        (gone,) = await again.rest()
        assert ("DELETED", ONE) == (gone.kind, gone.data["id"])
    stranger = served.client.as_("else@example.com")
    for client, since in ((stranger, watch.last_id), (served.client, gone.id)):
        answer = await client.get(f"{ONE}?watch=true", headers={"Last-Event-ID": since})
        check_error(answer, 404, "RESOURCE_NOT_FOUND")


async def test_an_id_that_is_none_is_refused(served):
    for headers, query in (({"Last-Event-ID": "7"}, ""), ({}, "&last_event_id=%00")):
        answer = await served.client.get(f"{CLUSTERS}?watch=true{query}", headers=headers)
        check_error(answer, 400, "VALIDATION_FAILED", field="Last-Event-ID")


async def test_an_id_from_too_long_ago_or_of_another_kafka_has_expired():
    async with serving(feed_changes=2) as served, serving(identity="elsewhere") as elsewhere:
        for n in range(4):
            served.put(ONE, phase=f"P{n}")
        for token in (served.feed.token((1,)), elsewhere.feed.token((4,))):
            answer = await served.client.get(f"{CLUSTERS}?watch=true", headers={"Last-Event-ID": token})
            check_error(answer, 410, "WATCH_EXPIRED")
        async with watching(served.client, since=served.feed.token((2,))) as watch:
            assert 2 == len(await watch.beginning())


async def test_a_process_that_is_behind_lets_the_reader_wait(served):
    served.put(ONE)
    asked = asyncio.create_task(
        served.client.session.get(
            f"{served.client.url}{CLUSTERS}?watch=true",
            headers={"X-User-Email": OWNER, "Last-Event-ID": served.feed.token((2,))},
        )
    )
    done, _ = await asyncio.wait({asked}, timeout=0.2)
    assert not done
    served.put(ONE, phase="Ready")
    async with await asyncio.wait_for(asked, 10) as response:
        assert 200 == response.status


async def test_a_place_that_the_log_does_not_have_is_refused():
    async with serving(watch_reach=timedelta(milliseconds=50)) as served:
        ahead = {"Last-Event-ID": served.feed.token((7,))}
        check_error(await served.client.get(f"{CLUSTERS}?watch=true", headers=ahead), 410, "WATCH_EXPIRED")
        served.health.kafka_healthy = False  # then it may be there, and we cannot know
        check_error(await served.client.get(f"{CLUSTERS}?watch=true", headers=ahead), 503, "UNAVAILABLE")


# --- bounds -----------------------------------------------------------------------------------------------


async def test_while_tables_are_read_there_is_nothing_to_watch(served):
    served.health.tail.caught_up.clear()
    for path in (CLUSTERS, f"{CLUSTERS}/{ONE}"):
        check_error(await served.client.get(f"{path}?watch=true"), 503, "UNAVAILABLE")


async def until_there_is_room(served):
    """Wait until the owner may begin another watch."""

    async def accepted():
        async with served.client.session.get(
            f"{served.client.url}{CLUSTERS}?watch=true", headers={"X-User-Email": OWNER}
        ) as response:
            return response.status == 200

    await until(accepted, what="room for another watch")


async def test_one_watch_too_many_is_turned_away_until_another_ends():
    async with serving(max_watchers=1) as served:
        async with watching(served.client) as watch:
            await watch.beginning()
            answer = await served.client.get(f"{CLUSTERS}?watch=true")
            check_error(answer, 503, "UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) >= 1
            watch.response.close()

        await until_there_is_room(served)


async def test_one_identity_has_its_share_of_the_watches_and_not_all():
    async with (
        serving(max_watchers=4, max_watchers_each=2) as served,
        watching(served.client) as one,
        watching(served.client),
    ):
        await one.beginning()
        answer = await served.client.get(f"{CLUSTERS}?watch=true")
        check_error(answer, 429, "TOO_MANY_WATCHES", limit=2)
        assert int(answer.headers["Retry-After"]) >= 1
        async with watching(served.client.as_("else@example.com")) as other:
            await other.beginning()
        one.response.close()

        await until_there_is_room(served)


async def test_silence_is_broken_by_heartbeats_and_the_reader_learns_its_place():
    async with (
        serving(watch_heartbeat=timedelta(milliseconds=50)) as served,
        watching(served.client) as watch,
    ):
        await watch.beginning()
        served.put(ONE, owner="else@example.com")  # not this reader's, but it moves its place
        assert ("BOOKMARK", served.feed.token((1,))) == ((event := await watch.next()).kind, event.id)
        assert event.data == {"last_event_id": event.id}
        before = watch.comments

        async def beats():
            return watch.comments > before + 3

        reading = asyncio.create_task(watch.next())
        await until(beats, what="heartbeats")
        assert not reading.done(), "nothing has changed, so no event is told"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def slow_reader(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A watch whose client takes a few bytes and then stops reading, behind small buffers."""
    address = urlsplit(served.client.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    request = f"GET {CLUSTERS}?watch=true HTTP/1.1\r\nHost: x\r\nX-User-Email: {OWNER}\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"BOOKMARK")
    return reader, writer


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_over_http_1_0_a_watch_ends_with_its_connection(served, connection):
    """There are no chunks, so nothing else tells a reader that it is over."""
    served.put(ONE)
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"GET {CLUSTERS}/{ONE}?watch=true HTTP/1.0\r\nX-User-Email: {OWNER}\r\nConnection: {connection}\r\n"
    )
    writer.write(f"{head}\r\n".encode())
    async with asyncio.timeout(20):
        await reader.readuntil(b"BOOKMARK")
        served.put(ONE, deleted=True)
        rest = await reader.read()
    writer.close()
    assert b"event: DELETED\n" in rest


async def test_over_http_1_0_an_answer_of_known_length_keeps_its_connection(served):
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for _ in range(2):
        writer.write(b"GET /api/v1/info HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nConnection: keep-alive\r\n" in head
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            await reader.readexactly(int(length[16:]))
    writer.close()


async def test_a_reader_that_falls_behind_is_told_so_and_let_go():
    async with serving(feed_changes=20) as served:
        reader, writer = await slow_reader(served)
        dropped = metric("clusterflow_watches_ended_total", reason="too_slow")
        for n in range(100):  # more than the buffers of two sockets hold
            served.put(ONE, padding="x" * 200_000, phase=f"P{n}")
            await asyncio.sleep(0)
        assert served.feed._bytes <= 20 * 201_000
        data = b""
        async with asyncio.timeout(30):
            while chunk := await reader.read(2**20):
                data = (data + chunk)[-2000:]
                if b"0\r\n\r\n" in chunk[-5:]:
                    break
        last = data.rpartition(b"event: ")[2]
        assert last.startswith(b"ERROR\ndata: {")
        assert b'"code":"WATCH_TOO_SLOW"' in last
        assert b'"request_id":"' in last
        assert dropped + 1 == metric("clusterflow_watches_ended_total", reason="too_slow")
        writer.close()


async def test_a_reader_that_does_not_read_at_all_is_cut_off():
    async with serving(watch_write_timeout=timedelta(milliseconds=300)) as served:
        _, writer = await slow_reader(served)
        blocked = metric("clusterflow_watches_ended_total", reason="blocked")
        gone = metric("clusterflow_watches_ended_total", reason="gone")
        for n in range(100):
            served.put(ONE, padding="x" * 200_000, phase=f"P{n}")

        async def ended():  # whichever notices first: our clock, or the kernel's
            return (
                metric("clusterflow_watches_ended_total", reason="blocked") > blocked
                or metric("clusterflow_watches_ended_total", reason="gone") > gone
            )

        await until(ended, what="the end of the watch")
        writer.close()


async def test_a_reader_that_goes_is_noticed_though_nothing_changes(served):
    before = metric("clusterflow_watchers")
    async with watching(served.client) as watch:
        await watch.beginning()
        assert before + 1 == metric("clusterflow_watchers")
        watch.response.close()

    async def noticed():
        return metric("clusterflow_watchers") == before

    await until(noticed, what="the end of the watch")


async def test_at_shutdown_watches_end_at_once():
    async with serving() as served:
        served.put(ONE)
        _, stuck = await slow_reader(served)
        async with watching(served.client) as watch:
            await watch.beginning()
            for n in range(100):
                served.put(TWO, owner=OWNER, padding="x" * 200_000, phase=f"P{n}")
            while (await watch.next()).data["status"]["phase"] != "P99":
                pass
            async with asyncio.timeout(5):
                await served.runner.cleanup()
            assert END == await watch.next()
        stuck.close()


# --- what is said about it --------------------------------------------------------------------------------


async def test_one_line_is_logged_when_a_watch_ends_and_its_length_is_no_latency(served, caplog):
    caplog.set_level(logging.INFO, "clusterflow")
    label = {"method": "GET", "path": "/api/v1/clusters/{id}"}
    slow_before = metric("clusterflow_http_request_duration_seconds_count", **label) - metric(
        "clusterflow_http_request_duration_seconds_bucket", **label, le="0.1"
    )
    served.put(ONE)
    async with watching(served.client, ONE) as watch:
        await watch.beginning()
        await asyncio.sleep(0.3)  # the length under test
        served.put(ONE, deleted=True)
        await watch.rest()

    async def logged():
        return [record for record in caplog.records if record.message == "request"]

    (line,) = await until(logged, what="the log line")
    assert ("deleted", 3, 200, ONE) == (line.stream_end, line.stream_events, line.status, line.cluster_id)
    assert line.duration_ms < 100 < 300 <= line.stream_s * 1000
    slow_after = metric("clusterflow_http_request_duration_seconds_count", **label) - metric(
        "clusterflow_http_request_duration_seconds_bucket", **label, le="0.1"
    )
    assert slow_before == slow_after
