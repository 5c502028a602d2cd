"""Commands find the servers of a `clusterflow all` that runs here, and only of one that does."""

import json
import stat

import pytest

from cli.running import joined, told
from deploy.embedded.ports import free_port
from settings import from_env
from tests.processes import run

VARIABLES = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "DATABASE_URL": "postgresql://me:secret@127.0.0.1:8/postgres",
    "KAFKA_REPLICATION": "1",
    "SECRET_KEYS": "not told",
}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Another terminal, in which nothing is set."""
    for name in (*VARIABLES, "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUN_DIR", str(tmp_path))


def servers():
    settings = joined(from_env())
    database = settings.database_url.get_secret_value()
    return settings.kafka_bootstrap_servers, database, settings.kafka_replication


NONE = ("", "", 3)


def test_a_command_finds_the_servers_while_the_run_lasts(tmp_path, capsys):
    assert NONE == servers()
    with told(str(tmp_path), VARIABLES):
        assert (VARIABLES["KAFKA_BOOTSTRAP_SERVERS"], VARIABLES["DATABASE_URL"], 1) == servers()
        assert f"over the servers that run in {tmp_path}/\n" == capsys.readouterr().err
    assert NONE == servers()
    assert [] == list(tmp_path.iterdir())


def test_a_command_finds_the_password_of_valkey_with_it(tmp_path):
    with told(str(tmp_path), {**VARIABLES, "REDIS_URL": "redis://:hunter2@127.0.0.1:7/0"}):
        settings = joined(from_env())
    assert "redis://:hunter2@127.0.0.1:7/0" == settings.redis_url.get_secret_value()
    assert "hunter2" not in repr(settings)


def test_a_one_shot_command_takes_them(tmp_path):
    gone = {**VARIABLES, "DATABASE_URL": f"postgresql://me:hunter2@127.0.0.1:{free_port()}/db"}
    with told(str(tmp_path), gone):
        ended = run("migrate", RUN_DIR=str(tmp_path))
    assert 1 == ended.returncode
    assert f"over the servers that run in {tmp_path}/" == ended.stderr.splitlines()[0]
    assert "hunter2" not in ended.stdout + ended.stderr


def test_only_their_owner_can_read_them(tmp_path):
    with told(str(tmp_path), VARIABLES):
        (path,) = tmp_path.iterdir()
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert "secret_keys" not in json.loads(path.read_text())


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"])
def test_who_names_one_server_gets_none_of_the_run(tmp_path, monkeypatch, name):
    value = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:1", "DATABASE_URL": "postgresql://db/one"}[name]
    monkeypatch.setenv(name, value)
    with told(str(tmp_path), VARIABLES):
        kafka, database, replication = servers()
    assert sorted([value, ""]) == sorted([kafka, database])
    assert 3 == replication


def test_another_setting_of_the_terminal_goes_before_that_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA_REPLICATION", "2")
    with told(str(tmp_path), VARIABLES):
        assert 2 == servers()[2]


def test_what_a_killed_run_has_left_says_nothing_and_the_next_run_takes_its_place(tmp_path):
    (tmp_path / "servers.json").write_text(json.dumps({"database_url": "postgresql://gone/x"}))
    assert NONE == servers()
    with told(str(tmp_path), VARIABLES):
        assert NONE != servers()
