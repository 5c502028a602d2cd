"""Servers that are killed come back on the same port with what they had acknowledged."""

import pytest

from deploy.embedded import EmbeddedError, Stack


def test_kafka_keeps_acknowledged_records_over_kill_and_restart(stack, clients):
    clients(stack).write_kafka("before")
    address, pid = stack.kafka.bootstrap_servers, stack.kafka.pid
    stack.kafka.kill()
    assert not stack.kafka.running()
    stack.kafka.start()
    assert address == stack.kafka.bootstrap_servers
    assert pid != stack.kafka.pid
    clients(stack).write_kafka("after")
    assert clients(stack).read_kafka()[-2:] == ["before", "after"]


def test_postgres_keeps_committed_rows_over_kill_and_restart(stack, clients):
    clients(stack).write_postgres("before")
    url = stack.postgres.url
    stack.postgres.kill()
    assert not stack.postgres.running()
    stack.postgres.start()
    assert url == stack.postgres.url
    assert "before" in clients(stack).read_postgres()


def test_graceful_restart_gives_a_new_process(valkey_only):
    pid = valkey_only.valkey.pid
    valkey_only.valkey.restart()
    assert pid != valkey_only.valkey.pid
    assert valkey_only.valkey.running()


def test_pid_file_of_a_killed_postgres_does_not_block_the_next(data_dir):
    stack = Stack(data_dir)
    stack.start(["postgres", "valkey"])
    stack.postgres.kill()
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    _, _, rest = pid_file.read_text().partition("\n")
    pid_file.write_text(f"{stack.valkey.pid}\n{rest}")  # the pid belongs to another process by now
    stack.postgres.start()
    assert stack.postgres.running()
    stack.stop()


def test_dead_guard_is_reported(valkey_only, eventually):
    valkey_only._guard._process.kill()
    valkey_only._guard._process.wait()
    with pytest.raises(EmbeddedError, match=r"the guard of the embedded servers .* was killed"):
        valkey_only.start(["postgres"])
    assert not valkey_only.valkey.running()
