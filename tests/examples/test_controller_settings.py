"""What the environment may say."""

import pytest

from examples.controllers.settings import ConfigurationError, from_env

KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}


def test_defaults_are_the_contracts() -> None:
    settings = from_env(KAFKA)
    backoff = settings.backoff
    assert (backoff.first, backoff.longest, backoff.attempts, settings.work_limit) == (10.0, 600.0, 5, 600.0)


def test_a_prefix_goes_before_every_topic() -> None:
    settings = from_env(KAFKA | {"KAFKA_TOPIC_PREFIX": "test."})
    assert settings.events_topic == "test.cluster-events"
    assert settings.reports_topic == "test.cluster-status-reports"
    assert settings.dead_letters_topic("dns") == "test.cluster-events.dns.dlq"


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10.0), ("1m30s", 90.0), ("1.5h", 5400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert from_env(KAFKA | {"CONTROLLER_RETRY_FIRST": text}).backoff.first == seconds


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("CONTROLLER_RETRY_FIRST", "10"),
        ("CONTROLLER_RETRY_FIRST", "ten seconds"),
        ("CONTROLLER_RETRY_FIRST", ""),
        ("CONTROLLER_RETRY_ATTEMPTS", "0"),
        ("CONTROLLER_RETRY_ATTEMPTS", "many"),
    ],
)
def test_what_is_wrong_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        from_env(KAFKA | {name: text})
