"""What a stack keeps is its owner's alone: data, logs, passwords, and the servers that ask for one."""

import asyncio
import os
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from cli.config import masked
from deploy.embedded import Stack
from deploy.embedded.lock import DirectoryLock


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(directory: Path) -> list[str]:
    """What in it others can read or enter."""
    return [str(path) for path in (directory, *directory.rglob("*")) if rights(path) & 0o077]


@pytest.fixture
def lax_umask():
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.fixture
def lax(data_dir, lax_umask):
    """A directory of an earlier run that everybody can read."""
    for name in ("logs", "kafka/data", "valkey", "postgres"):
        (data_dir / name).mkdir(parents=True)
    (data_dir / "lock").touch()
    assert 0o777 == rights(data_dir)
    return data_dir


def test_nothing_of_a_run_can_be_read_by_others(lax, clients):
    with Stack(lax) as stack:
        clients(stack).write("hello")
        assert 0o700 == rights(lax)
        for name in ("logs", "kafka", "kafka/data", "valkey", "postgres"):
            assert 0o700 == rights(lax / name), name
        for name in ("postgres/password", "valkey/password", "valkey/valkey.conf"):
            assert 0o600 == rights(lax / name), name
        written = [*(lax / "kafka" / "data" / "notes-0").iterdir(), *(lax / "valkey").rglob("*.aof")]
        assert len(written) > 1
        assert [] == [path for path in written if rights(path) & 0o077]


def test_a_new_directory_is_closed_whatever_the_umask(data_dir, lax_umask):
    DirectoryLock(data_dir).release()
    assert [] == open_to_others(data_dir)


def test_a_directory_with_other_things_in_it_keeps_its_rights(data_dir, lax_umask):
    data_dir.mkdir()
    (data_dir / "mine").touch()
    stack = Stack(data_dir)
    stack.start(["valkey"])
    stack.stop()
    assert 0o777 == rights(data_dir)
    assert [] == [*open_to_others(data_dir / "valkey"), *open_to_others(data_dir / "lock")]
    assert 0o700 == rights(data_dir / "logs")


def test_valkey_asks_for_a_password(valkey_only):
    url = valkey_only.valkey.url
    assert redis.Redis.from_url(url).ping()
    for other in (without_password(url), url.replace("://:", "://:not")):
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            redis.Redis.from_url(other).ping()


async def test_postgres_asks_for_a_password(data_dir):
    stack = Stack(data_dir)
    await asyncio.to_thread(stack.start, ["postgres"])
    try:
        name, _, place = stack.postgres.url.partition("@")
        for url in (f"postgresql://clusterflow:wrong@{place}", f"postgresql://postgres:@{place}"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(url)
        await (await asyncpg.connect(f"{name}@{place}")).close()
    finally:
        await asyncio.to_thread(stack.stop)


def test_the_password_is_on_no_command_line_and_in_no_log(data_dir):
    stack = Stack(data_dir)
    stack.start(["postgres", "valkey"])
    try:
        passwords = [(data_dir / name / "password").read_text().strip() for name in ("postgres", "valkey")]
        assert all(len(password) >= 32 for password in passwords)
        seen = [" ".join(psutil.Process(pid).cmdline()) for pid in (stack.valkey.pid, stack.postgres.pid)]
        seen += [path.read_text() for path in (data_dir / "logs").iterdir()]
        seen += [masked(url) for url in stack.environment().values()]
        assert [] == [password for password in passwords if any(password in text for text in seen)]
    finally:
        stack.stop()


def test_the_password_is_kept_for_the_next_run(data_dir):
    urls = []
    for _ in range(2):
        stack = Stack(data_dir)
        stack.start(["valkey"])
        urls.append(stack.valkey.url)
        stack.stop()
    assert urls[0] == urls[1]
    other = Stack(data_dir.with_name("other"))
    other.start(["valkey"])
    assert password_of(other.valkey.url) != password_of(urls[0])
    other.stop()


def password_of(url: str) -> str:
    return url.partition("://:")[2].partition("@")[0]


def without_password(url: str) -> str:
    return f"redis://{url.partition('@')[2]}"
