"""The change feed with everything behind it: real Kafka, a worker, several web processes."""

import asyncio
import json
import random
from datetime import timedelta
from itertools import count

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import CONTROLLER, SPEC, Deployment, an_owner, available
from tests.web.answers import check_error
from tests.web.watching import CLUSTERS, END, watching

AWS = {"platform": {"type": "aws"}}


@pytest.fixture
async def deployment(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        yield deployment


async def test_two_users_see_their_clusters_live_and_die(api):
    other = api.as_(an_owner())
    async with (
        watching(api) as mine,
        watching(other) as theirs,
        watching(api.as_(CONTROLLER), created_by=api.email) as controllers,
    ):
        assert ([], [], []) == (
            await mine.beginning(),
            await theirs.beginning(),
            await controllers.beginning(),
        )
        cluster = await api.created()
        await other.created()
        assert 200 == (await api.report(cluster["id"], conditions=available())).status
        ready = (await api.get(cluster["id"])).json
        updated = (await api.update(cluster["id"], AWS)).json
        assert 202 == (await api.delete(cluster["id"], force=True)).status
        wanted = [("ADDED", cluster), ("MODIFIED", ready), ("MODIFIED", updated), ("DELETED", updated)]
        for watch in (mine, controllers):
            assert wanted == [((event := await watch.next()).kind, event.data) for _ in wanted]
        event = await theirs.next()
        assert ("ADDED", other.email) == (event.kind, event.data["created_by"])


async def test_a_filter_follows_what_changes(api):
    cluster = await api.created()
    async with watching(api, status="Ready", platform="GCP") as watch:
        assert [] == await watch.beginning()
        await api.report(cluster["id"], conditions=available())
        await api.update(cluster["id"], AWS)
        assert ["ADDED", "DELETED"] == [(await watch.next()).kind for _ in range(2)]


async def test_one_cluster_from_its_birth_to_its_end(api):
    cluster = await api.created()
    async with watching(api, cluster["id"]) as watch:
        assert [("ADDED", cluster)] == await watch.beginning()
        await api.created("another")
        updated = (await api.update(cluster["id"], AWS)).json
        await api.delete(cluster["id"])
        assert [("MODIFIED", updated), ("DELETED", updated)] == [(e.kind, e.data) for e in await watch.rest()]
    check_error(await api.get(f"{cluster['id']}?watch=true"), 404, "RESOURCE_NOT_FOUND")


async def test_a_reader_goes_on_at_another_process_and_after_a_restart(deployment):
    first, role = await deployment.web_role(an_owner())
    second = (await deployment.web()).as_(first.email)
    a, b = await first.created("a"), await first.created("b")
    async with watching(first) as watch:
        await watch.beginning()
        a = (await first.update(a["id"], AWS)).json
        assert ("MODIFIED", a) == ((event := await watch.next()).kind, event.data)
        await role.end()
        assert END == await watch.next()

    b = (await second.update(b["id"], AWS)).json
    async with watching(second, since=watch.last_id) as watch:
        assert [("MODIFIED", b)] == await watch.beginning()
    await second.delete(a["id"])
    c = await second.created("c")

    third = (await deployment.web()).as_(
        first.email
    )  # has never seen what the reader missed but in the topic
    for client in (third, second):
        async with watching(client, since=watch.last_id) as again:
            told = await again.beginning()  # of several partitions, so in any order
            assert {("DELETED", a["id"]), ("ADDED", c["id"])} == {(kind, data["id"]) for kind, data in told}
            assert 2 == len(told)


async def test_a_reader_that_runs_from_process_to_process_ends_with_what_is_there(deployment):
    """Writes all the time, by two users over two processes; the reader changes process every few events."""
    webs = [await deployment.web(an_owner()) for _ in range(2)]
    ids = [(await webs[n % 2].created(f"c{n}"))["id"] for n in range(6)]
    draw, done = random.Random(1), asyncio.Event()

    async def write(id, owner):
        for n in range(15):
            answer = await owner.update(id, draw.choice([SPEC, AWS]))
            assert answer.status == 200, answer
            if n % 4 == 3:
                await owner.report(id, observed_generation=answer["generation"], conditions=available())

    async def read():
        held, versions, last = {}, {}, None
        for at in count():
            if last is None:  # an interrupted beginning begins again
                held, versions = {}, {}
            finished = done.is_set()
            async with watching(webs[at % 2].as_(CONTROLLER), since=last) as watch:
                for _ in range(draw.randint(1, 12)):
                    try:
                        event = await watch.next(within=1)
                    except TimeoutError:
                        break
                    last = event.id or last
                    if event.kind == "BOOKMARK":
                        if finished:
                            return held
                        continue
                    id, version = event.data["id"], event.data["generation"]
                    reported = event.data["status"]["phase"] == "Ready"
                    assert (id in held) == (event.kind == "MODIFIED")
                    assert (version, reported) > versions.get(id, (0, False)), "twice, or out of order"
                    held[id], versions[id] = event.data, (version, reported)
        raise AssertionError("unreachable")

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(id, webs[n % 2]) for n, id in enumerate(ids)))
    shown = {id: (await webs[n % 2].get(id)).json for n, id in enumerate(ids)}

    async def both_show_it():
        listed = [(await web.as_(CONTROLLER).list())["clusters"] for web in webs]
        return all({c["id"]: c for c in clusters} == shown for clusters in listed)

    await until(both_show_it, what="the end state on both processes")
    done.set()
    assert shown == await asyncio.wait_for(reading, 60)


async def test_a_slow_reader_is_let_go_and_the_others_read_on(deployment):
    web = await deployment.web(an_owner(), feed_changes=10)
    cluster = await web.created(spec={**SPEC, "padding": ""})
    async with watching(web, limit=1024) as slow, watching(web) as fast:
        await slow.beginning()
        await fast.beginning()
        for n in range(60):  # 24 MB, more than the buffers of two sockets hold
            await web.update(cluster["id"], {**SPEC, "padding": str(n % 10) * 400_000})
            assert n + 2 == (await fast.next()).data["generation"]
        slow.response.content._low_water, slow.response.content._high_water = 2**22, 2**23
        *_, last = await slow.rest()
    assert ("ERROR", None) == (last.kind, last.id)
    assert "WATCH_TOO_SLOW" == last.data["code"]
    again = {"Last-Event-ID": slow.last_id}
    check_error(await web.get(f"{CLUSTERS}?watch=true", headers=again), 410, "WATCH_EXPIRED")


async def test_heartbeats_come_and_a_moved_schedule_tells_nothing(servers):
    policy = Policy(attention_interval=timedelta(seconds=1))
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        await deployment.worker(tick_interval=timedelta(milliseconds=200))
        web = await deployment.web(an_owner(), watch_heartbeat=timedelta(milliseconds=300))
        cluster = await web.created()
        async with watching(web) as watch:
            await watch.beginning()
            states = deployment.log("cluster-state")
            seen = len(await states.of(cluster["id"]))

            async def moved():
                return len(await states.of(cluster["id"])) > seen

            await until(moved, what="a tick that reconciles the cluster")
            assert ["BOOKMARK", "BOOKMARK"] == [(await watch.next()).kind for _ in range(2)]
            assert watch.comments > 0


async def test_the_id_of_another_deployment_is_refused(deployment, shared_api):
    cluster = await shared_api.as_(an_owner()).created()
    async with watching(shared_api.as_(cluster["created_by"])) as watch:
        await watch.beginning()
    web = await deployment.web(an_owner())
    answer = await web.get(f"{CLUSTERS}?watch=true", headers={"Last-Event-ID": watch.last_id})
    check_error(answer, 410, "WATCH_EXPIRED")
    assert "start again" in json.loads(answer.body)["error"]
