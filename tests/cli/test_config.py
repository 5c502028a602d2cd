"""`clusterflow config`: what it prints can be set again, and shows no secret."""

import json
import shlex
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.config import masked
from settings import Settings
from streams.json import go_duration
from tests.processes import run

SECRETS = {
    "DATABASE_URL": "postgresql://me:hunter2@db:5432/x?application_name=a&password=hunter2",
    "REDIS_URL": "redis://:hunter2@valkey:6379/0",
    "SECRET_KEYS": "k1:aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ=",
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_USERNAME": "me",
    "KAFKA_SASL_PASSWORD": "hunter2",
    "REST_DB_PASSWORD": "hunter2",
    "GRPC_DB_PASSWORD": "hunter2",
    "WORKER_DB_PASSWORD": "hunter2",
}
OPEN = {
    "PORT": "9000",
    "CORS_ALLOWED_ORIGINS": "https://a.example,https://b.example",
    "COMMAND_TIMEOUT": "1500ms",
    "DEFAULT_CLUSTER_VERSION": "4.22 beta 'two'",
    "DISABLE_AUTH": "T",
    "PUBSUB_CLUSTER_EVENTS_TOPIC": "news",
}


def sections(text: str) -> dict[str, dict[str, str]]:
    """Variables by heading, as a shell would read them."""
    found: dict[str, dict[str, str]] = {}
    for block in text.strip().split("\n\n"):
        heading, *lines = block.splitlines()
        words = [shlex.split(line) for line in lines]
        found[heading.removeprefix("# ")] = dict(word.split("=", 1) for [word] in words)
    return found


def test_it_tells_what_is_set_and_what_is_not():
    printed = sections(run("config", **OPEN).stdout)
    assert printed["from the environment"] == {
        "PORT": "9000",
        "CORS_ALLOWED_ORIGINS": "https://a.example,https://b.example",
        "COMMAND_TIMEOUT": "1s500ms",
        "DEFAULT_CLUSTER_VERSION": "4.22 beta 'two'",
        "DISABLE_AUTH": "true",
        "CLUSTER_EVENTS_TOPIC": "news",
    }
    assert printed["defaults"]["METRICS_PORT"] == "8081"
    assert printed["not set"]["DATABASE_URL"] == ""
    names = {name.lower() for section in printed.values() for name in section}
    assert names == Settings.model_fields.keys() - {"pubsub_cluster_events_topic"}


def test_what_it_prints_means_the_same_when_it_is_set():
    printed = run("config", "--json", **OPEN).stdout
    again = run(
        "config", "--json", **{name: entry["value"] for name, entry in json.loads(printed).items()}
    ).stdout
    values = [{name: entry["value"] for name, entry in json.loads(text).items()} for text in (printed, again)]
    assert values[0] == values[1]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_secret_is_printed(options):
    ended = run("config", *options, **SECRETS)
    assert ended.returncode == 0, ended.stderr
    assert "db:5432" in ended.stdout
    for part in ("hunter2", "aHVudGVy"):
        assert part not in ended.stdout + ended.stderr


def test_what_is_doubtful_is_said_beside():
    ended = run("config", DISABLE_AUTH="true", ENVIRONMENT="production")
    assert "DISABLE_AUTH" in ended.stderr


def test_faults_are_told_instead():
    ended = run("config", PORT="x")
    assert (2, "") == (ended.returncode, ended.stdout)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("postgresql://me:pw@db:5432/x", "postgresql://me:***@db:5432/x"),
        ("postgresql://me@db/x?sslmode=require", "postgresql://me@db/x?sslmode=require"),
        ("postgresql:///x?user=me&password=pw", "postgresql:///x?user=me&password=***"),
        ("postgresql:///x?pass%77ord=pw", "postgresql:///x?pass%77ord=***"),
        ("redis://:pw@cache:6379/0", "redis://:***@cache:6379/0"),
        ("postgresql://me:p@w@db/x", "***"),
        ("no url", "***"),
        ("", ""),
    ],
)
def test_of_a_url_only_the_password_is_masked(secret, shown):
    assert masked(secret) == shown


@given(st.text(min_size=1))
def test_no_password_is_seen_through_the_mask(password):
    assert masked(f"postgresql://me:{password}@db/x") in ("postgresql://me:***@db/x", "***")
    assert masked(f"redis://:{password}@db") in ("redis://:***@db", "***")


@given(st.text(st.characters(exclude_characters="&"), min_size=1))  # which would end the parameter
def test_no_password_is_seen_in_a_query(password):
    masks = ("postgresql:///x?password=***&a=b", "***")
    assert masked(f"postgresql:///x?password={password}&a=b") in masks


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=9000)))
def test_a_duration_is_written_as_it_is_read(duration):
    assert Settings(attention_age=go_duration(duration)).attention_age == duration
