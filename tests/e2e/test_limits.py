"""Limits of routes, decided alike by an agent and by Valkey (operations contract, sections 3 and 17)."""

import asyncio
import time
from itertools import count
from typing import Any

import pytest

from domain.rates import Rate
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner
from web.limits import Default, LimiterSettings

DIAGNOSE, JOBS = "/api/v1/diagnosis/diagnose", "/api/v1/jobs"
STATUS = "/api/v1/observability/ratelimit"
CONFIG, MOUNT = f"{STATUS}/config", "/genie/api/v1"
RATE_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
PASSED, TURNED_AWAY = 404, 429
"""A diagnosis of a cluster that there is not was let through by its limit."""

KEYS = "limiter_config:"
_scopes = count(1)


@pytest.fixture(scope="module", params=["table", "redis"])
async def webs(servers, request):
    """Two web processes with the default limits."""
    limits = LimiterSettings(redis_url=servers.redis_url if request.param == "redis" else "")
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        yield [await deployment.web(an_owner(), limiter=limits) for _ in range(2)]


@pytest.fixture
def backend(request):
    return request.node.callspec.params["webs"]


def a_cluster() -> str:
    """The id of no cluster, in whose scope nobody else asks."""
    return f"none-{time.time_ns()}-{next(_scopes)}"


async def diagnose(client: Client, cluster: str, **options: Any) -> Answer:
    return await client.request("POST", DIAGNOSE, {"cluster_id": cluster}, **options)


async def configure(client: Client, **members: Any) -> Answer:
    answer = await client.request("POST", CONFIG, members)
    assert answer.status == 200, answer
    return answer


async def limited(webs: list[Client], cluster: str, *, capacity: float, refill_rate: float) -> str:
    """A cluster whose diagnoses have this limit."""
    await agreed(webs, capacity, refill_rate, name="diagnosis", scope_type="cluster", scope_id=cluster)
    return cluster


async def agreed(webs: list[Client], capacity: float, refill_rate: float, **scope: str) -> None:
    """Configure a limit, and wait until all processes know it."""
    await configure(webs[0], **scope, capacity=capacity, refill_rate=refill_rate)

    async def known() -> bool:
        said = [await status(web, **scope) for web in webs]
        return {(each["capacity"], each["rate_per_sec"]) for each in said} == {(capacity, refill_rate)}

    await until(known, within=2, what="the limit in all processes")


async def status(client: Client, **query: str) -> Answer:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return await client.request("GET", f"{STATUS}?{asked}")


# --- who is let through -------------------------------------------------------------------------------


async def test_as_many_are_let_through_as_there_are_tokens(webs):
    # given
    cluster = await limited(webs, a_cluster(), capacity=5, refill_rate=0)
    # when
    answers = await asyncio.gather(*(diagnose(webs[number % 2], cluster) for number in range(200)))
    # then
    assert {PASSED: 5, TURNED_AWAY: 195} == {
        code: [answer.status for answer in answers].count(code) for code in (PASSED, TURNED_AWAY)
    }
    assert TURNED_AWAY == (await diagnose(webs[0], cluster)).status


async def test_tokens_come_back(webs):
    # given two at once and one in two seconds
    cluster = await limited(webs, a_cluster(), capacity=2, refill_rate=0.5)
    began = time.monotonic()
    first = [(await diagnose(webs[0], cluster)).status for _ in range(3)]
    assert [PASSED, PASSED, TURNED_AWAY] == first

    async def passed() -> bool:
        return (await diagnose(webs[1], cluster)).status == PASSED

    # when, then
    await until(passed, within=10, what="a token")
    assert 1.9 < time.monotonic() - began


async def test_whoever_is_turned_away_is_told_why_and_until_when(webs):
    # given
    cluster = a_cluster()
    answers = [await diagnose(webs[number % 2], cluster) for number in range(6)]
    # then
    (refused,) = [answer for answer in answers if answer.status == TURNED_AWAY]
    assert {"error": "rate limit exceeded", "code": "RATE_LIMITED"}.items() <= refused.json.items()
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert ["5"] * 6 == [answer.headers["X-RateLimit-Limit"] for answer in answers]
    assert ["4", "3", "2", "1", "0", "0"] == [answer.headers["X-RateLimit-Remaining"] for answer in answers]
    assert 15 < int(refused.headers["X-RateLimit-Reset"]) - time.time() < 30


async def test_nobody_is_told_of_a_time_that_never_comes(webs):
    # given
    cluster = await limited(webs, a_cluster(), capacity=1, refill_rate=0)
    # when
    answers = [await diagnose(webs[0], cluster) for _ in range(2)]
    # then
    assert [PASSED, TURNED_AWAY] == [answer.status for answer in answers]
    assert {"Retry-After", "X-RateLimit-Reset"}.isdisjoint(answers[1].headers)


async def test_scopes_do_not_share(webs):
    # given
    ones = [await limited(webs, a_cluster(), capacity=1, refill_rate=0) for _ in range(2)]
    # then
    for cluster in ones:
        assert [PASSED, TURNED_AWAY] == [(await diagnose(webs[0], cluster)).status for _ in range(2)]


async def test_users_are_who_they_say_and_others_share(webs):
    # given
    users = [f"a {time.time_ns()}", f"user:{time.time_ns()}"]
    for user in users:
        await agreed(webs, 1, 0, name="jobs_create", scope_type="user", scope_id=user)
    # when each asks twice, for what cannot be done
    for user in users:
        asked = [
            (await webs[number].request("POST", JOBS, {"type": "none"}, headers={"X-User-ID": user})).status
            for number in range(2)
        ]
        # then a request that is refused has used a token, too
        assert [400, TURNED_AWAY] == asked
    unnamed = await webs[0].request("POST", JOBS, {"type": "none"})
    assert unnamed.headers["X-RateLimit-Limit"] == "3"


@pytest.mark.parametrize("user", ["x" * 129, "a\tb"])
async def test_who_cannot_be_a_user_is_refused(webs, user):
    answer = await webs[0].request("POST", JOBS, {"type": "none"}, headers={"X-User-ID": user})
    assert (400, "X-User-ID") == (answer.status, answer["details"]["field"])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"cluster_id": 7}', b'{"cluster_id": ""}', b"{}"])
async def test_a_body_without_a_cluster_takes_from_everybodys(webs, body):
    # given
    await configure(webs[0], name="diagnosis", capacity=1e6)
    before = await webs[0].request("POST", DIAGNOSE)
    # when
    answer = await webs[0].request("POST", DIAGNOSE, body)
    # then
    assert [400, 400] == [before.status, answer.status]
    left = [int(each.headers["X-RateLimit-Remaining"]) for each in (before, answer)]
    assert left[0] - 1 == left[1]


async def test_the_operators_mount_is_limited_as_well(webs):
    # given
    cluster = await limited(webs, a_cluster(), capacity=1, refill_rate=0)
    # then
    paths = (DIAGNOSE, f"{MOUNT}/diagnosis/diagnose")
    answers = [await webs[0].request("POST", path, {"cluster_id": cluster}) for path in paths]
    assert [PASSED, TURNED_AWAY] == [answer.status for answer in answers]


async def test_a_cluster_may_be_among_the_parameters_of_a_job(servers):
    # given jobs that are limited by their cluster
    limits = LimiterSettings(defaults={"jobs_create": Default(rate=Rate(1, 0), scope_type="cluster")})
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        client = await deployment.web(an_owner(), limiter=limits)
        # when
        bodies = [
            {"type": "none", "parameters": {"cluster_id": "a"}},
            {"type": "none", "parameters": {"cluster_id": "a"}, "cluster_id": "b"},
            {"type": "none", "parameters": {}, "cluster_id": "b"},
        ]
        # then
        assert [400, TURNED_AWAY, 400] == [
            (await client.request("POST", JOBS, body)).status for body in bodies
        ]


# --- what is configured -------------------------------------------------------------------------------


async def test_what_is_configured_counts_everywhere_at_once_and_for_buckets_that_are_there(webs):
    # given
    cluster = await limited(webs, a_cluster(), capacity=1, refill_rate=0)
    assert [PASSED, TURNED_AWAY] == [(await diagnose(webs[1], cluster)).status for _ in range(2)]
    # when
    await limited(webs, cluster, capacity=50, refill_rate=1000)

    async def passed() -> bool:
        return (await diagnose(webs[1], cluster)).headers["X-RateLimit-Limit"] == "50"

    # then
    await until(passed, within=2, what="another limit")
    assert PASSED == (await diagnose(webs[1], cluster)).status


async def test_each_number_comes_from_the_closest_scope_that_has_it(webs):
    # given
    cluster = a_cluster()
    await configure(webs[0], name="diagnosis", capacity=70)
    scope = {"name": "diagnosis", "scope_type": "cluster", "scope_id": cluster}
    await configure(webs[0], **scope, refill_rate=7)

    async def shown() -> bool:
        found = await status(webs[1], name="diagnosis", scope_type="cluster", scope_id=cluster)
        return (found["capacity"], found["rate_per_sec"]) == (70, 7)

    # then
    await until(shown, within=2, what="both numbers")
    # when
    await webs[0].request("DELETE", CONFIG, {"name": "diagnosis"})

    async def of_settings() -> bool:
        found = await status(webs[1], name="diagnosis", scope_type="cluster", scope_id=cluster)
        return (found["capacity"], found["rate_per_sec"]) == (5, 7)

    # then
    await until(of_settings, within=2, what="the number of the settings")


async def test_a_configuration_is_shown_listed_and_removed(webs):
    # given
    user = f"alice-{time.time_ns()}"
    scope, key = f"user:{user}", f"{KEYS}jobs_create:user:{user}"
    answer = await configure(webs[0], name="jobs_create", scope_type=scope, refill_rate=0.5)
    assert {"ok": True, "config_key": key} == answer.json
    await configure(webs[1], name="jobs_create", scope_type="user", scope_id=user, capacity=2)
    query = f"?name=jobs_create&scope_type=user&scope_id={user}"
    shown = {
        "name": "jobs_create",
        "scope": scope,
        "config": {"refill_rate": "0.500000", "capacity": "2.000000"},
    }
    # then
    assert shown == (await webs[0].request("GET", CONFIG + query)).json
    listed = await webs[1].request("GET", f"{CONFIG}/list{query}")
    assert {"count": 1, "items": [{"key": key, **shown}]} == listed.json
    for other in ("?name=diagnosis", "?scope_type=cluster", "?scope_type=global"):
        found = (await webs[1].request("GET", f"{CONFIG}/list{other}"))["items"]
        assert key not in [item["key"] for item in found]
    assert key in [item["key"] for item in (await webs[1].request("GET", f"{CONFIG}/list"))["items"]]
    # when, then it is removed, however often
    for _ in range(2):
        answer = await webs[0].request("DELETE", CONFIG, {"key": key})
        assert {"ok": True, "deleted": key} == answer.json
    assert 404 == (await webs[1].request("GET", CONFIG + query)).status


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"capacity": 1}, "name", id="no name"),
        pytest.param({"name": "jobs:create", "capacity": 1}, "name", id="a colon"),
        pytest.param({"name": "jobs*", "capacity": 1}, "name", id="a wildcard"),
        pytest.param({"name": "jobs_create"}, "capacity", id="no number"),
        pytest.param({"name": "jobs_create", "capacity": 0}, "capacity", id="no capacity"),
        pytest.param({"name": "jobs_create", "capacity": 1e12}, "capacity", id="too much"),
        pytest.param({"name": "jobs_create", "refill_rate": -1}, "refill_rate", id="below 0"),
        pytest.param({"name": "jobs_create", "refill_rate": "1"}, "refill_rate", id="a text"),
        pytest.param({"name": "jobs_create", "capacity": 1, "scope_type": "user"}, "scope_id", id="no id"),
        pytest.param(
            {"name": "jobs_create", "capacity": 1, "scope_type": "team"}, "scope_type", id="another type"
        ),
    ],
)
async def test_what_cannot_be_configured_is_refused(webs, body, field):
    answer = await webs[0].request("POST", CONFIG, body)
    assert (400, "VALIDATION_FAILED", field) == (answer.status, answer["code"], answer["details"]["field"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": "limiter:jobs_create:global"},
        {"key": "limiter_config:a*:global"},
        {"key": "limiter_config:a"},
    ],
)
async def test_nothing_else_is_removed(webs, body):
    assert 400 == (await webs[0].request("DELETE", CONFIG, body)).status


# --- how full a bucket is -----------------------------------------------------------------------------


async def test_looking_changes_nothing(webs, backend):
    # given
    cluster = await limited(webs, a_cluster(), capacity=3, refill_rate=0)
    of = {"name": "diagnosis", "scope_type": "cluster", "scope_id": cluster}
    expected = {"name": "diagnosis", "scope": f"cluster:{cluster}", "capacity": 3, "rate_per_sec": 0}
    for _ in range(2):
        assert {**expected, "available": 3, "backend": backend} == (await status(webs[1], **of)).json
    # when
    await diagnose(webs[0], cluster)

    async def less() -> bool:
        return (await status(webs[1], **of))["available"] == 2

    # then
    await until(less, within=2, what="one token less")


async def test_everybodys_bucket_has_no_id_and_a_limit_must_exist(webs):
    assert "global" == (await status(webs[0], name="jobs_create"))["scope"]
    assert "global" == (await status(webs[0], name="jobs_create", scope_type="user"))["scope"]
    assert "global" == (await status(webs[0], name="jobs_create", scope_type="global", scope_id="x"))["scope"]
    assert 404 == (await status(webs[0], name="nothing", scope_type="user", scope_id="x")).status
    assert 400 == (await status(webs[0])).status
    plain = await webs[0].request("GET", "/observability/ratelimit?name=jobs_create")
    assert (200, "jobs_create") == (plain.status, plain["name"])


async def test_a_bucket_that_nobody_uses_is_forgotten_once_it_is_full(servers):
    # given
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        client = await deployment.web(an_owner(), limiter=LimiterSettings())
        await configure(client, name="diagnosis", capacity=1, refill_rate=10)
        # when
        await client.request("POST", DIAGNOSE, {})

        async def forgotten() -> bool:
            bodies = await deployment.log("bucket-state").bodies("diagnosis:global")
            return bool(bodies) and bodies[-1]["deleted_at"] is not None

        # then
        await until(forgotten, within=10, what="a bucket that is forgotten")
        assert 400 == (await client.request("POST", DIAGNOSE, {})).status
