"""The signing key of a spec (contract, section 1.2): write-only for users, encrypted in every topic."""

import json

import pytest

from streams.secrets import Keyring
from tests.conftest import until
from tests.e2e.product import CONTROLLER, SPEC, an_owner, command
from tests.web.answers import check, check_error

MEMBER = "serviceAccountSigningKey"
SECRET = "c2VjcmV0IG9mIHRoZSB0ZXN0"
KEYS = {"first": b"1" * 32}


@pytest.fixture(scope="module")
async def keyholder(product):
    return await product.web(keyring=Keyring(KEYS))


@pytest.fixture
def api(keyholder):
    return keyholder.as_(an_owner())


def keyed(value=SECRET, **members):
    return {**SPEC, **members, MEMBER: value}


async def seen_by_controller(api, cluster_id):
    return check(await api.as_(CONTROLLER).get(cluster_id), 200)["spec"].get(MEMBER)


async def test_users_write_it_and_only_controllers_read_it(api):
    created = check(await api.create("one", keyed()), 201)
    assert SPEC == created["spec"]
    assert SPEC == check(await api.get(created["id"]), 200)["spec"]
    assert SPEC == check(await api.list(), 200)["clusters"][0]["spec"]
    assert SECRET == await seen_by_controller(api, created["id"])


async def test_what_shows_it_is_stored_nowhere_and_given_to_nobody_else(api):
    cluster, plain = await api.created("one", keyed()), await api.created("two")
    controller = api.as_(CONTROLLER)
    for path in (cluster["id"], f"{cluster['id']}/"):
        shown = check(await controller.get(path), 200)
        assert SECRET == shown["spec"][MEMBER]
        assert "no-store" == shown.headers["Cache-Control"]
        assert "Cache-Control" not in check(await api.get(path), 200).headers
    assert "Cache-Control" not in check(await controller.get(plain["id"]), 200).headers


async def test_the_rest_of_a_document_is_the_same_for_both(api):
    cluster = await api.created("one", keyed(odd={"float": 1.0, "big": 2**53 + 1, "text": "ü\u2028"}))
    shown = check(await api.as_(CONTROLLER).get(cluster["id"]), 200).json
    assert cluster == {**shown, "spec": {k: v for k, v in shown["spec"].items() if k != MEMBER}}


@pytest.mark.parametrize(
    ("spec", "after"),
    [
        pytest.param(SPEC, SECRET, id="an update that omits it keeps it"),
        pytest.param(keyed(""), SECRET, id="so does an empty one"),
        pytest.param(keyed("bmV3"), "bmV3", id="another one replaces it"),
        pytest.param(keyed(None), None, id="null removes it"),
    ],
)
async def test_what_an_update_does_to_it(api, spec, after):
    cluster = await api.created("one", keyed())
    check(await api.update(cluster["id"], spec), 200)
    assert after == await seen_by_controller(api, cluster["id"])


async def test_no_topic_ever_holds_it_in_clear(product, api):
    cluster = await api.created("one", keyed())
    await api.update(cluster["id"], keyed("bmV3IHNlY3JldA=="))
    check(await api.delete(cluster["id"], force=True), 202)
    for spec in product.kafka.topics.all():
        name = spec.name.removeprefix(product.kafka.topics.prefix)
        for record in await product.log(name).read():
            for clear in (SECRET, "bmV3IHNlY3JldA=="):
                assert clear.encode() not in (record.value or b""), name
    (event,) = [
        body
        for body in await product.log("cluster-events").bodies(cluster["id"])
        if body["type"] == "cluster.updated"
    ]
    assert {"from": "***", "to": "***"} == event["changes"][f"spec.{MEMBER}"]


async def test_a_kafka_client_that_sends_it_in_clear_is_told_and_no_dead_letter_keeps_it(product, api):
    cluster = await api.created()
    sent = command("update", cluster["id"], api.email, spec=keyed())
    await product.log("cluster-commands").publish(cluster["id"], sent)
    result = await product.log("cluster-command-results").wait_for(
        cluster["id"], lambda body: body["command_id"] == sent["command_id"]
    )
    assert ("rejected", "VALIDATION_FAILED") == (result["outcome"], result["code"])
    assert SECRET not in json.dumps(result)
    assert [] == await product.log("cluster-commands.dlq").of(cluster["id"])


async def test_a_kafka_client_may_encrypt_it_itself(product, api):
    cluster = await api.created()
    spec = Keyring(KEYS).encrypted(keyed())
    sent = command("update", cluster["id"], api.email, spec=spec)
    await product.log("cluster-commands").publish(cluster["id"], sent)
    await product.log("cluster-command-results").wait_for(
        cluster["id"], lambda body: body["command_id"] == sent["command_id"]
    )
    await api.update(cluster["id"])  # when it is answered, this web process shows what came before it
    assert SECRET == await seen_by_controller(api, cluster["id"])


async def test_a_server_without_keys_refuses_it_and_shows_what_else_there_is(shared_api, api):
    cluster = await api.created("one", keyed())
    keyless = shared_api.as_(api.email)
    refused = await keyless.create("two", keyed())
    check_error(refused, 400, "VALIDATION_FAILED", field=f"spec.{MEMBER}")
    assert SECRET.encode() not in refused.body

    async def seen() -> bool:
        return (await keyless.get(cluster["id"])).status == 200

    await until(seen, what="a cluster that another process answered for")
    unreadable = await keyless.as_(CONTROLLER).get(cluster["id"])
    assert (200, False) == (unreadable.status, MEMBER in unreadable["spec"])


@pytest.mark.parametrize("value", [5, {"key": SECRET}, [SECRET], True])
async def test_one_that_is_no_string_is_refused_without_being_shown(api, value):
    refused = await api.create("one", keyed(value))
    check_error(refused, 400, "VALIDATION_FAILED", field=f"spec.{MEMBER}")
    assert SECRET.encode() not in refused.body
