"""Roles as processes: what stops them, what they say, how they end."""

import asyncio
import signal

import orjson
import pytest

from deploy.embedded.ports import free_port
from tests.processes import answers, environment_of, eventually, role, run


@pytest.fixture
async def environment(servers, kafka):
    url = await servers.new_database()
    migrated = await asyncio.to_thread(run, "migrate", DATABASE_URL=url)
    assert migrated.returncode == 0, migrated.stderr
    return environment_of(kafka, url)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PORT", "99999", "less than or equal to 65535"),
        ("KAFKA_PARTITIONS", "many", "valid integer"),
        ("COMMAND_TIMEOUT", "soon", "a duration such as"),
        ("RECONCILIATION_CHECK_INTERVAL", "0s", "above zero"),
        ("DISABLE_AUTH", "maybe", "true or false"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warn' or 'error'"),
        ("COMMAND_TIMEOUT", "45s", "below SERVER_WRITE_TIMEOUT_SECONDS"),
    ],
)
def test_a_bad_value_stops_the_start_and_is_named(variable, value, expected):
    ended = run("web", **{variable: value})
    assert (2, True, True) == (ended.returncode, variable in ended.stderr, expected in ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_secret_is_not_shown_when_another_value_is_bad():
    ended = run("sink", DATABASE_URL="postgresql://me:hunter2@nowhere/db", PORT="x")
    assert ended.returncode == 2
    assert "hunter2" not in ended.stderr


def test_a_missing_setting_is_named():
    ended = run("worker", METRICS_PORT=str(free_port()))
    assert (2, True) == (ended.returncode, "KAFKA_BOOTSTRAP_SERVERS is not set" in ended.stderr)


def test_a_kafka_that_is_away_ends_a_role_with_one_line():
    ended = run("worker", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", METRICS_PORT=str(free_port()))
    assert 1 == ended.returncode
    assert "Traceback" not in ended.stderr
    assert "KafkaConnectionError" in orjson.loads(ended.stderr.splitlines()[-1])["error"]


async def test_declaring_topics_again_changes_nothing(environment):
    ended = await asyncio.to_thread(run, "topics", **environment)
    assert (0, "") == (ended.returncode, ended.stdout)


async def test_another_partition_count_is_refused(environment):
    ended = await asyncio.to_thread(run, "topics", **{**environment, "KAFKA_PARTITIONS": "7"})
    assert ended.returncode == 1
    assert "fixed for the life of the data" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_away_is_told_in_a_line():
    ended = run("migrate", DATABASE_URL=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/db")
    assert (1, False, False) == (ended.returncode, "Traceback" in ended.stderr, "hunter2" in ended.stderr)


@pytest.mark.parametrize("name", ["web", "grpc", "worker", "sink", "executor", "recorder", "relay"])
async def test_a_role_becomes_ready_and_stops_when_asked(name, environment, tmp_path):
    log = tmp_path / "log"
    with role(name, log, **environment) as (process, url):
        await asyncio.to_thread(eventually, lambda: answers(f"{url}/ready", 200))
        assert await asyncio.to_thread(answers, f"{url}/live", 200)
        assert await asyncio.to_thread(answers, f"{url}/metrics", 200)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert {name} == {line["role"] for line in lines}
    assert ("starting", "stopped") == (lines[0]["msg"], lines[-1]["msg"])


async def test_a_role_ends_with_its_parent(environment, tmp_path):
    parent_gone = {**environment, "CLUSTERFLOW_PARENT": "1", "METRICS_ENABLED": "true"}
    with role("web", tmp_path / "log", **parent_gone) as (process, _):
        assert await asyncio.to_thread(process.wait, 30) == 0
    assert b"parent is gone" in (tmp_path / "log").read_bytes()
