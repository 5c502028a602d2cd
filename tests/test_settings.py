"""The environment as settings: defaults of the contract, every fault told at once, no secret shown."""

import os
from datetime import timedelta

import pytest

from database.names import DATABASES
from settings import BadSettings, Environment, Settings, from_env
from streams.settings import KafkaSecurity

SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_USERNAME": "me",
    "KAFKA_SASL_PASSWORD": "hunter2",
}
KEY = "A" * 43 + "="


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)


@pytest.fixture
def reading(monkeypatch):
    def read(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return from_env()

    return read


# Contract, section 8, in its order.
DEFAULTS = {
    "port": 8080,
    "metrics_port": 8081,
    "metrics_enabled": True,
    "environment": "development",
    "service_name": "clusterflow",
    "server_read_timeout_seconds": 30,
    "server_write_timeout_seconds": 30,
    "server_idle_timeout_seconds": 120,
    "server_max_header_bytes": 1048576,
    "allowed_hosts": (),
    "cors_allowed_origins": (),
    "database_max_open_conns": 25,
    "database_max_idle_conns": 5,
    "database_conn_max_lifetime": timedelta(minutes=5),
    "database_conn_max_idle_time": timedelta(minutes=1),
    "cluster_events_topic": "cluster-events",
    "log_level": "info",
    "log_format": "json",
    "disable_auth": False,
    "default_cluster_version": "",
    "default_channel_group": "",
    "reconciliation_enabled": True,
    "reconciliation_check_interval": timedelta(seconds=30),
    "reconciliation_max_concurrent": 50,
    "reconciliation_adaptive_enabled": True,
    "reconciliation_healthy_interval": timedelta(minutes=5),
    "reconciliation_unhealthy_interval": timedelta(seconds=30),
    "reconciliation_default_interval": timedelta(minutes=5),
    "reactive_reconciliation_enabled": False,
    "reactive_reconciliation_debounce": timedelta(seconds=2),
    "reactive_reconciliation_max_events_per_minute": 60,
    "reactive_reconciliation_change_types": ("spec", "status", "controller_status"),
    "kafka_topic_prefix": "",
    "kafka_partitions": 12,
    "kafka_replication": 3,
    "status_grace_period": timedelta(minutes=30),
    "status_activity_window": timedelta(minutes=5),
    "attention_age": timedelta(hours=2),
    "command_timeout": timedelta(seconds=15),
    "platforms": ("gcp", "aws", "azure"),
    "resource_statuses": ("active", "inactive"),
    "require_release": False,
    "privileged_email_domain": "system.local",
    "grpc_service_port": 9090,
    "grpc_reflection": True,
    "task_max_attempts": 5,
    "task_timeout": timedelta(seconds=30),
    "task_require_resource": False,
    "task_simulated_work_ms": 0,
    "worker_topics": (
        *("resource.created", "resource.updated", "resource.deleted"),
        *("task.process", "task.completed", "task.failed"),
    ),
    "write_fallback": "none",
    "outbox_allowed_types": (
        "resource.created",
        "resource.updated",
        "resource.deleted",
        "task.process",
        "task.completed",
        "task.failed",
    ),
    "outbox_poll_interval": timedelta(seconds=1),
    "outbox_batch_size": 100,
    "outbox_retention_days": 7,
}


def test_the_defaults_are_the_contracts(reading):
    settings = reading()
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_the_bound_of_what_nobody_reads_holds_more_than_one_connection(reading):
    assert 8388608 == reading(SERVER_MAX_UNREAD_BYTES="8388608").server_max_unread_bytes
    with pytest.raises(BadSettings, match=r"^SERVER_MAX_UNREAD_BYTES must be at least twice "):
        reading(SERVER_MAX_UNREAD_BYTES="8388607")


def test_what_a_connection_may_leave_unread_has_room_for_any_cluster(reading):
    with pytest.raises(BadSettings, match=r"^SERVER_MAX_UNREAD_BYTES_PER_CONNECTION='1048575': "):
        reading(SERVER_MAX_UNREAD_BYTES_PER_CONNECTION="1048575")


def test_a_variable_that_is_set_and_empty_counts_as_not_set(reading):
    assert reading(PORT="", DATABASE_URL="", PLATFORMS="") == Settings()


@pytest.mark.parametrize("name", ["cls-backend", "x", "A.b_c-9", "n" * 64])
def test_a_service_may_be_called(reading, name):
    assert name == reading(SERVICE_NAME=name).service_name


@pytest.mark.parametrize("name", ["n" * 65, "a b", "ä", "a/b", "a\n", '"'])
def test_a_service_may_not_be_called(reading, name):
    with pytest.raises(BadSettings, match=r"^SERVICE_NAME="):
        reading(SERVICE_NAME=name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("1m30s", 90),
        ("2h", 7200),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1h0m1s", 3601),
    ],
)
def test_durations_are_go_s(reading, text, seconds):
    assert reading(ATTENTION_AGE=text).attention_age == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["1", "1d", "-1s", "s", "1 s", "0s", "0", "1ns", "1s2", "9" * 400 + "h", "١s"]
)
def test_what_is_no_duration_above_zero_is_refused(reading, text):
    with pytest.raises(BadSettings, match=r"^ATTENTION_AGE="):
        reading(ATTENTION_AGE=text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("T", True), ("TRUE", True), ("0", False), ("f", False)]
)
def test_booleans_are_go_s(reading, text, value):
    assert reading(REQUIRE_RELEASE=text).require_release is value


def test_lists_are_trimmed_and_empties_dropped(reading):
    assert reading(PLATFORMS=" gcp ,, aws,").platforms == ("gcp", "aws")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("METRICS_PORT", "http"),
        ("METRICS_ENABLED", "yes"),
        ("ENVIRONMENT", "moon"),
        ("SERVER_WRITE_TIMEOUT_SECONDS", "0"),
        ("SERVER_MAX_HEADER_BYTES", "-1"),
        ("CORS_ALLOWED_ORIGINS", "example.com"),
        ("CORS_ALLOWED_ORIGINS", " , "),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "https://a.example"),
        ("ALLOWED_HOSTS", "a.example:8080"),
        ("ALLOWED_HOSTS", "a.example,*.b.example"),
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_MAX_OPEN_CONNS", "0"),
        ("DATABASE_CONN_MAX_LIFETIME", "forever"),
        ("REDIS_URL", "localhost"),
        ("SECRET_KEYS", "k1:short"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,other:99999"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_PARTITIONS", "0"),
        ("KAFKA_REPLICATION", "99999"),
        ("KAFKA_TOPIC_PREFIX", "a/b"),
        ("CLUSTER_EVENTS_TOPIC", "a b"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("DEFAULT_CHANNEL_GROUP", "nightly"),
        ("PRIVILEGED_EMAIL_DOMAIN", "@system.local"),
        ("PLATFORMS", ","),
        ("RECONCILIATION_MAX_CONCURRENT", "0"),
        ("REACTIVE_RECONCILIATION_MAX_EVENTS_PER_MINUTE", "-1"),
        ("REACTIVE_RECONCILIATION_CHANGE_TYPES", "spec,colour"),
        ("STANDBY_REPLICAS", "-1"),
        ("WORKER_TOPICS", "cluster-events"),
        ("WORKER_TOPICS", "resource.created,task"),
        ("WORKER_TOPICS", ","),
    ],
)
def test_a_value_that_cannot_be_is_named(reading, variable, value):
    with pytest.raises(BadSettings) as told:
        reading(**{variable: value})
    [line] = str(told.value).splitlines()
    assert line.startswith(variable)


def test_the_recorder_may_be_given_fewer_topics(reading):
    settings = reading(WORKER_TOPICS="task.failed, resource.deleted")
    assert ("task.failed", "resource.deleted") == settings.worker_topics


def test_every_fault_is_told_at_once(reading):
    with pytest.raises(BadSettings) as told:
        reading(
            PORT="0", LOG_LEVEL="loud", COMMAND_TIMEOUT="45s", KAFKA_SASL_USERNAME="me", ATTENTION_AGE="x"
        )
    named = {line.split("=")[0].split(" ")[0] for line in str(told.value).splitlines()}
    assert named == {"PORT", "LOG_LEVEL", "COMMAND_TIMEOUT", "KAFKA_SASL_USERNAME", "ATTENTION_AGE"}


def test_a_fault_blames_nobody_else(reading):
    with pytest.raises(BadSettings) as told:
        reading(PORT="x", METRICS_PORT="8080")  # 8080 is the default of the one that is wrong
    assert [line.split("=")[0] for line in str(told.value).splitlines()] == ["PORT"]


@pytest.mark.parametrize(
    "variables",
    [
        {"DATABASE_URL": "mysql://me:hunter2@db/x"},
        {"DATABASE_URL": "hunter2"},
        {"REDIS_URL": "http://:hunter2@db"},
        {"SECRET_KEYS": "hunter2"},
        {"SECRET_KEYS": "k1:hunter2hunter2=="},
        {**SASL, "KAFKA_SASL_MECHANISM": "none"},
        {"KAFKA_SASL_PASSWORD": "hunter2"},
        {"DATABASE_URL": "postgresql://me:hunter2@db/x", "PORT": "x"},
    ],
    ids=" and ".join,
)
def test_no_fault_shows_a_secret(reading, variables):
    with pytest.raises(BadSettings) as told:
        reading(**variables)
    assert "hunter2" not in str(told.value)


def test_a_long_value_is_shown_in_part(reading):
    with pytest.raises(BadSettings) as told:
        reading(LOG_LEVEL="x" * 10_000)
    assert len(str(told.value)) < 300


def test_settings_do_not_show_secrets_in_their_own_text(reading):
    settings = reading(DATABASE_URL="postgresql://me:hunter2@db/x", KAFKA_BOOTSTRAP_SERVERS="k:1", **SASL)
    assert "hunter2" not in f"{settings!r} {settings.kafka!r} {settings.database_of('rest')!r}"


def test_what_fits_no_other_is_refused(reading):
    for variables, expected in (
        ({"METRICS_PORT": "8080"}, "PORT and METRICS_PORT must differ"),
        ({"COMMAND_TIMEOUT": "30s"}, "below SERVER_WRITE_TIMEOUT_SECONDS"),
        ({"CLUSTER_EVENTS_TOPIC": "cluster-state"}, "another topic"),
        ({"COMMAND_TIMEOUT": "5s", "SERVER_WRITE_TIMEOUT_SECONDS": "5"}, "COMMAND_TIMEOUT"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(BadSettings, match=expected):
                from_env()


# --- who may call -------------------------------------------------------------------------------------

ALONE = {"ENVIRONMENT": "development", "BIND_HOST": "127.0.0.1", "ALLOWED_HOSTS": "127.0.0.1,localhost"}


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="by itself"),
        pytest.param({**ALONE, "ALLOWED_HOSTS": ""}, id="no host named"),
        pytest.param({**ALONE, "ENVIRONMENT": "staging"}, id="staging"),
        pytest.param({**ALONE, "ENVIRONMENT": "production"}, id="production"),
        pytest.param({**ALONE, "BIND_HOST": "0.0.0.0"}, id="all addresses"),
        pytest.param({**ALONE, "BIND_HOST": "10.0.0.5"}, id="another address"),
        pytest.param({**ALONE, "ALLOWED_HOSTS": "localhost,api.example.com"}, id="another name"),
        pytest.param({"CORS_ALLOWED_ORIGINS": "https://a.example,*"}, id="among others"),
        pytest.param({"DISABLE_AUTH": "true"}, id="without identities"),
    ],
)
def test_any_origin_is_refused_outside_of_tests(reading, variables):
    with pytest.raises(BadSettings) as told:
        reading(**{"CORS_ALLOWED_ORIGINS": "*", **variables})
    [line] = str(told.value).splitlines()
    assert line.startswith("CORS_ALLOWED_ORIGINS=*")
    assert "name the origins" in line
    assert "ALLOWED_HOSTS=127.0.0.1" in line


def test_tests_on_one_machine_may_have_any_origin(reading):
    assert ("*",) == reading(CORS_ALLOWED_ORIGINS="*", **ALONE).cors_allowed_origins
    assert ("*",) == reading(ALLOWED_HOSTS="::1").cors_allowed_origins


def test_hosts_are_those_named_and_the_bound_address(reading):
    hosts = reading(BIND_HOST="10.0.0.5", ALLOWED_HOSTS="api.example.com, [fd00::1]").hosts
    for host in ("localhost:1", "10.0.0.5", "API.example.com:8080", "[fd00::1]:80"):
        assert hosts.admits(host), host
    for host in ("10.0.0.6", "example.com"):
        assert not hosts.admits(host), host


# --- the topic of events ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "topic"),
    [
        pytest.param({}, "cluster-events", id="by default"),
        pytest.param({"CLUSTER_EVENTS_TOPIC": "a"}, "a", id="by its name"),
        pytest.param({"PUBSUB_CLUSTER_EVENTS_TOPIC": "a"}, "a", id="by its old name"),
        pytest.param(
            {"CLUSTER_EVENTS_TOPIC": "a", "PUBSUB_CLUSTER_EVENTS_TOPIC": "a"}, "a", id="by both, alike"
        ),
    ],
)
def test_the_topic_of_events_is_named(reading, variables, topic):
    kafka = reading(KAFKA_BOOTSTRAP_SERVERS="k:1", KAFKA_TOPIC_PREFIX="p.", **variables).kafka
    assert kafka.topics.events == f"p.{topic}"
    assert f"p.{topic}.dlq" in {spec.name for spec in kafka.topics.all()}


def test_a_role_may_have_the_default_of_grpc_for_something_else(reading):
    assert 9090 == reading(PORT="9090").port
    with pytest.raises(BadSettings, match="PORT and GRPC_SERVICE_PORT must differ"):
        reading(PORT="9090", GRPC_SERVICE_PORT="9090")


def test_a_service_link_of_kubernetes_is_read_as_its_port(reading):
    assert 9091 == reading(GRPC_SERVICE_PORT="tcp://10.96.0.7:9091").grpc_service_port


def test_two_names_that_differ_are_refused(reading):
    with pytest.raises(BadSettings, match="are one setting"):
        reading(CLUSTER_EVENTS_TOPIC="a", PUBSUB_CLUSTER_EVENTS_TOPIC="b")


# --- what parts are told ------------------------------------------------------------------------------


def test_the_rules_are_told_what_was_set(reading):
    policy = reading(
        REACTIVE_RECONCILIATION_ENABLED="true",
        REACTIVE_RECONCILIATION_DEBOUNCE="750ms",
        REACTIVE_RECONCILIATION_MAX_EVENTS_PER_MINUTE="7",
        REACTIVE_RECONCILIATION_CHANGE_TYPES="spec, status",
        PLATFORMS="GCP,Moon",
        RECONCILIATION_MAX_CONCURRENT="3",
        RESOURCE_STATUSES="draft, live",
        TASK_MAX_ATTEMPTS="7",
        TASK_LEASE="3s",
        TASK_TIMEOUT="1m",
        TASK_RETENTION="1h",
    ).policy
    assert (7, timedelta(seconds=3), timedelta(minutes=1), timedelta(hours=1)) == (
        policy.task_limits.attempts,
        policy.task_limits.lease,
        policy.task_limits.time,
        policy.task_retention,
    )
    assert ("draft", "live") == policy.resource_statuses
    assert (True, timedelta(milliseconds=750), 7) == (
        policy.reactive,
        policy.reactive_debounce,
        policy.reactive_limit,
    )
    assert ({"spec", "status"}, {"gcp", "moon"}, 3) == (
        policy.reactive_change_types,
        policy.platforms,
        policy.reconcile_cap,
    )


def test_the_pool_is_told_what_was_set(reading):
    database = reading(
        DATABASE_URL="postgres://me:pw@db/x",
        DATABASE_MAX_OPEN_CONNS="9",
        DATABASE_MAX_IDLE_CONNS="2",
        DATABASE_CONN_MAX_LIFETIME="7m",
        DATABASE_CONN_MAX_IDLE_TIME="8s",
        DATABASE_POOLER="transaction",
    ).database_of("grpc")
    assert "transaction" == database.pooler
    assert ("postgres://me:pw@db/x", 9, 2) == (database.url, database.max_open, database.max_idle)
    assert (timedelta(minutes=7), timedelta(seconds=8)) == (database.max_lifetime, database.max_idle_time)


def test_kafka_is_missed_by_its_name(reading):
    with pytest.raises(BadSettings, match=r"^KAFKA_BOOTSTRAP_SERVERS is not set"):
        reading().kafka  # noqa: B018 (it raises)


@pytest.mark.parametrize("name", DATABASES)
def test_a_database_is_missed_by_all_its_names(reading, name):
    others = {f"{other.upper()}_DB_HOST": "db" for other in DATABASES if other != name}
    with pytest.raises(BadSettings, match=rf"^DATABASE_URL is not set, and none of {name.upper()}_DB_HOST"):
        reading(**others).database_of(name)


# --- databases ----------------------------------------------------------------------------------------

ONE = "postgresql://me:pw@db/x"


@pytest.mark.parametrize("name", DATABASES)
def test_one_url_serves_everything(reading, name):
    assert ONE == reading(DATABASE_URL=ONE).database_of(name).url


@pytest.mark.parametrize(
    ("part", "value", "url"),
    [
        ("HOST", "pg.example.com", "postgres:postgres@pg.example.com:5432/{}db?sslmode=disable"),
        ("HOST", "10.0.0.7", "postgres:postgres@10.0.0.7:5432/{}db?sslmode=disable"),
        ("HOST", "::1", "postgres:postgres@[::1]:5432/{}db?sslmode=disable"),
        ("HOST", "/run/pg", "postgres:postgres@%2Frun%2Fpg:5432/{}db?sslmode=disable"),
        ("PORT", "6432", "postgres:postgres@localhost:6432/{}db?sslmode=disable"),
        ("PORT", "tcp://10.96.0.7:5433", "postgres:postgres@localhost:5433/{}db?sslmode=disable"),
        ("USER", "a@b", "a%40b:postgres@localhost:5432/{}db?sslmode=disable"),
        (
            "PASSWORD",
            "hunter2/:@?#%",
            "postgres:hunter2%2F%3A%40%3F%23%25@localhost:5432/{}db?sslmode=disable",
        ),
        ("NAME", "a b", "postgres:postgres@localhost:5432/a%20b?sslmode=disable"),
        ("SSLMODE", "verify-full", "postgres:postgres@localhost:5432/{}db?sslmode=verify-full"),
    ],
)
@pytest.mark.parametrize("name", DATABASES)
def test_one_variable_of_a_group_makes_a_database_of_its_own(reading, name, part, value, url):
    settings = reading(**{"DATABASE_URL": ONE, f"{name.upper()}_DB_{part}": value})
    assert f"postgresql://{url.format(name)}" == settings.database_of(name).url
    assert {ONE} == {settings.database_of(other).url for other in DATABASES if other != name}


def test_a_variable_of_a_group_that_is_empty_counts_as_not_set(reading):
    assert ONE == reading(DATABASE_URL=ONE, REST_DB_HOST="", REST_DB_PORT="").database_of("rest").url


def test_ports_of_databases_may_be_equal(reading):
    settings = reading(REST_DB_PORT="5432", GRPC_DB_PORT="5432", PORT="5432")
    assert settings.rest_db_port == settings.grpc_db_port == settings.port


@pytest.mark.parametrize(
    ("part", "value"),
    [("HOST", "db:5432"), ("HOST", "a/b"), ("PORT", "0"), ("PORT", "x"), ("SSLMODE", "yes")],
)
def test_a_variable_of_a_group_that_cannot_be_is_named(reading, part, value):
    with pytest.raises(BadSettings, match=f"^WORKER_DB_{part}="):
        reading(**{f"WORKER_DB_{part}": value})


def test_passwords_of_databases_are_not_shown(reading):
    settings = reading(REST_DB_PASSWORD="hunter2")
    assert "hunter2" not in f"{settings!r} {settings.database_of('rest')!r}"


def test_kafka_is_told_who_we_are(reading):
    settings = reading(KAFKA_SASL_MECHANISM="SCRAM-SHA-512", **SASL)
    assert settings.kafka_security == KafkaSecurity(
        protocol="SASL_PLAINTEXT", mechanism="SCRAM-SHA-512", username="me", password="hunter2"
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_SASL_PASSWORD is not set"),
        ({"KAFKA_SASL_USERNAME": "me"}, "KAFKA_SECURITY_PROTOCOL=PLAINTEXT has no use for it"),
        ({"KAFKA_SSL_CA_FILE": "/ca.pem"}, "KAFKA_SECURITY_PROTOCOL=PLAINTEXT has no use for it"),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "/no/such.pem"},
            "PEM files that can be read",
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_FILE": "/key.pem"}, "without KAFKA_SSL_CERT_FILE"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_security_that_does_not_fit_together_is_refused(reading, variables, expected):
    with pytest.raises(BadSettings, match=expected):
        reading(**variables)


# --- warnings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "warned"),
    [
        pytest.param({}, [], id="none by default"),
        pytest.param({"DISABLE_AUTH": "true"}, [], id="none without identities in development"),
        pytest.param(
            {"DISABLE_AUTH": "true", "ENVIRONMENT": "production"}, ["DISABLE_AUTH"], id="in production"
        ),
        pytest.param(
            {"REQUIRE_RELEASE": "true"},
            ["DEFAULT_CLUSTER_VERSION", "DEFAULT_CHANNEL_GROUP"],
            id="releases required and no defaults",
        ),
        pytest.param(
            {"REQUIRE_RELEASE": "true", "DEFAULT_CLUSTER_VERSION": "4.22.0", "DEFAULT_CHANNEL_GROUP": "fast"},
            [],
            id="releases required and defaults there",
        ),
    ],
)
def test_warnings(reading, variables, warned):
    assert [name for name, _ in reading(**variables).warnings()] == warned


def test_production_is_not_a_warning_by_itself(reading):
    assert reading(ENVIRONMENT="production").environment is Environment.PRODUCTION
