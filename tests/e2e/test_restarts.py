"""What outlives the processes: roles come and go, and nobody who was answered is disappointed."""

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.conftest import until
from tests.e2e.product import SPEC, Deployment, an_owner, available, command, report
from tests.web.answers import check, check_error


@pytest.fixture
async def deployment(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        yield deployment


async def fleet_of(api):
    """A few clusters in different states, as REST shows them."""
    ready, updated, failed = [await api.created(name) for name in ("ready", "updated", "failed")]
    await api.report(ready["id"], conditions=available())
    await api.update(updated["id"], {"platform": {"type": "aws"}})
    await api.report(failed["id"], last_error={"errorType": "Fatal", "message": "broken"})
    gone = await api.created("gone")
    await api.delete(gone["id"])
    return await shown(api)


async def shown(api):
    listed = (await api.list())["clusters"]
    return {c["id"]: (c, (await api.get(f"{c['id']}/status")).json) for c in listed}


async def test_everything_outlives_all_processes(deployment):
    worker = await deployment.worker()
    api, web = await deployment.web_role(an_owner())
    before = await fleet_of(api)
    await worker.end()
    await web.end()

    api = (await deployment.web()).as_(api.email)
    assert before == await shown(api)
    await deployment.worker()
    check_error(await api.create("ready"), 409, "CLUSTER_NAME_EXISTS")
    assert 201 == (await api.create("gone")).status
    for cluster_id, (cluster, _) in before.items():
        assert cluster["generation"] + 1 == (await api.update(cluster_id))["generation"]


async def test_a_command_repeated_to_the_next_worker_finds_its_outcome(deployment):
    worker = await deployment.worker()
    api = await deployment.web(an_owner())
    cluster = await api.created()
    commands, results = deployment.log("cluster-accepted-commands"), deployment.log("cluster-command-results")
    applied = command("update", cluster["id"], api.email, spec=SPEC)
    refused = command("update", cluster["id"], api.email, spec={})
    await commands.publish_all([(cluster["id"], applied), (cluster["id"], refused)])
    await results.wait_for(cluster["id"], lambda body: body["command_id"] == refused["command_id"])
    await worker.end()
    await deployment.worker()
    await commands.publish_all([(cluster["id"], applied), (cluster["id"], refused)])

    async def outcomes():
        found = [(b["command_id"], b["outcome"]) for b in await results.bodies(cluster["id"])]
        return found if len([f for f in found if f[0] == refused["command_id"]]) == 2 else None

    found = await until(outcomes, what="the second answers")
    assert ["applied", "duplicate"] == [how for which, how in found if which == applied["command_id"]]
    assert ["rejected", "rejected"] == [how for which, how in found if which == refused["command_id"]]
    assert 2 == (await api.get(cluster["id"]))["generation"]


async def test_the_whole_log_published_again_changes_nothing(deployment):
    await deployment.worker()
    api = await deployment.web(an_owner())
    before = await fleet_of(api)
    one = next(iter(before))
    reports = deployment.log("cluster-status-reports")
    await reports.publish(one, report(one, controller_name="x", report_id=str(uuid4())))
    await until(lambda: _reported(api, one, "x"), what="the report")
    before = await shown(api)
    events = len(await deployment.log("cluster-events").read())
    for topic in ("cluster-create-requests", "cluster-commands", "cluster-status-reports"):
        log = deployment.log(topic)
        for record in await log.read():
            headers = dict(record.headers)
            await log.publish(record.key, record.value, headers=headers, partition=record.partition)
    last = await api.created("last")  # in another partition, perhaps: so wait for each that was touched
    for cluster_id in before:
        done = command("reconcile", cluster_id, api.email)
        await deployment.log("cluster-accepted-commands").publish(cluster_id, done)
        results = deployment.log("cluster-command-results")
        await results.wait_for(cluster_id, lambda body, done=done: body["command_id"] == done["command_id"])
    after = await shown(api)
    after.pop(last["id"])
    assert before == after
    told = [json.loads(r.value)["type"] for r in (await deployment.log("cluster-events").read())[events:]]
    assert sorted(["cluster.created", *["cluster.reconcile"] * len(before)]) == sorted(told)


async def _reported(api, cluster_id, name):
    view = (await api.get(f"{cluster_id}/status")).json
    return any(controller["controller_name"] == name for controller in view["controllers"])


async def test_partitions_move_there_and_back_under_writes(deployment):
    """Worker A, then A and B, then B alone: every write is answered, none is lost or doubled."""
    first = await deployment.worker()
    api = await deployment.web(an_owner(), command_timeout=timedelta(seconds=25))
    ids = [(await api.created(f"c{n}"))["id"] for n in range(8)]
    applied = dict.fromkeys(ids, 1)
    done = asyncio.Event()

    async def write(cluster_id):
        while not done.is_set():
            answer = check(await api.update(cluster_id), 200)
            applied[cluster_id] += 1
            assert applied[cluster_id] == answer["generation"]

    writers = [asyncio.create_task(write(cluster_id)) for cluster_id in ids]

    async def all_go_on():
        seen = dict(applied)

        async def each_moved():
            for writer in writers:
                if writer.done():
                    writer.result()
            return all(applied[i] > seen[i] for i in ids)

        await until(each_moved, within=40, what="progress of every cluster")

    try:
        await all_go_on()
        second = await deployment.worker()
        await all_go_on()
        await first.end()
        await all_go_on()
        await deployment.worker()
        await second.end()
        await all_go_on()
    finally:
        done.set()
        await asyncio.gather(*writers)
    for cluster_id in ids:
        assert applied[cluster_id] == (await api.get(cluster_id))["generation"]
        events = await deployment.log("cluster-events").bodies(cluster_id)
        changes = [event for event in events if event["type"] != "cluster.reconcile"]
        by_id = {
            event["id"]: event["generation"] for event in changes
        }  # at least once: repeats keep their id
        assert list(range(1, applied[cluster_id] + 1)) == sorted(by_id.values())


async def test_without_a_worker_writes_are_unconfirmed_and_reads_go_on(deployment):
    worker = await deployment.worker()
    api = await deployment.web(an_owner(), command_timeout=timedelta(seconds=1.5))
    cluster = await api.created()
    await worker.end()
    for answer in await asyncio.gather(
        api.create("later"), api.update(cluster["id"]), api.delete(cluster["id"], force=True)
    ):
        check_error(answer, 503, "UNAVAILABLE")
        assert "1" == answer.headers["Retry-After"]
    accepted = check(await api.report(cluster["id"], controller_name="c"), 202)
    assert {
        "message": "Status update accepted",
        "cluster_id": cluster["id"],
        "controller_name": "c",
        "observed_generation": 1,
    } == accepted.json
    assert cluster == (await api.get(cluster["id"])).json

    await deployment.worker()  # what was unconfirmed is decided, in its order

    async def decided():
        gone = (await api.get(cluster["id"])).status == 404
        return gone and (await api.list())["total"] == 1

    await until(decided, what="the outcome of what was unconfirmed")
    assert "later" == (await api.list())["clusters"][0]["name"]


async def test_a_client_that_does_not_wait_disturbs_nobody(deployment):
    await deployment.worker()
    api = await deployment.web(an_owner())
    pending = [asyncio.create_task(api.create(f"c{n}")) for n in range(20)]
    await asyncio.sleep(0)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    assert 201 == (await api.create("after")).status


async def test_what_one_process_wrote_the_others_show(deployment):
    await deployment.worker()
    first = await deployment.web(an_owner())
    second = (await deployment.web()).as_(first.email)
    cluster = await first.created()

    async def seen():
        return (await second.get(cluster["id"])).status == 200

    await until(seen, what="the cluster on the other process")
    assert cluster == (await second.get(cluster["id"])).json


async def test_a_stopping_web_finishes_what_is_under_way(deployment):
    """The write waits for a worker; told to stop, the process waits for the write."""
    api, web = await deployment.web_role(an_owner())
    pending = asyncio.create_task(api.create("last-one"))
    requests = deployment.log("cluster-name-requests")
    await until(requests.read, what="the request in its topic")
    web.stop.set()
    await deployment.worker()
    assert 201 == (await pending).status
    await web.end()


GARBAGE = [
    ("x", b"{"),
    (b"\xff", b"{}"),
    ("y", None),
    (str(uuid4()), b"[]"),
    (str(uuid4()), b'{"revision":1}'),
]


async def litter(deployment, *topics):
    for topic in topics:
        for partition in range(deployment.kafka.partitions):
            await deployment.log(topic).publish_all(GARBAGE, partition=partition)


async def test_garbage_among_states_and_results_stops_nobody(deployment):
    """Nobody but us may write there; still, a foreign record must not end every process at each start."""
    worker = await deployment.worker()
    api = await deployment.web(an_owner())
    cluster = await api.created()
    await worker.end()
    await litter(deployment, "cluster-state", "cluster-command-results", "cluster-names")
    await deployment.worker()
    assert 2 == (await api.update(cluster["id"]))["generation"]
    restarted = (await deployment.web()).as_(api.email)
    assert 2 == (await restarted.get(cluster["id"]))["generation"]
    assert 3 == (await restarted.update(cluster["id"]))["generation"]
    assert 201 == (await restarted.create("another")).status
