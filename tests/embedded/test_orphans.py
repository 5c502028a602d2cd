"""No server outlives the program that started it, whatever ends that program."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.embedded import Stack, guard

ROOT = Path(__file__).parents[2]
OWNER = """
import json, os, signal, sys, threading, time
# Either is ignored where the tests run in the background of a shell.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from deploy.embedded import Stack

stack = Stack(Path(sys.argv[1]))
stack.start(sys.argv[2].split(","))
servers = [server for server in (stack.kafka, stack.postgres, stack.valkey) if server.running()]
print(json.dumps([server.pid for server in servers]), flush=True)
if "--fork" in sys.argv and os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(600)
"""


MODULE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # as for a program in the foreground
runpy.run_module("deploy.embedded", run_name="__main__")
"""


def start_owner(
    data_dir: Path, services: str, *options: str
) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A program with a stack, and all processes of its servers."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir), services, *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    servers = [psutil.Process(pid) for pid in json.loads(owner.stdout.readline())]
    return owner, [process for server in servers for process in (server, *server.children(recursive=True))]


def none_runs(processes: list[psutil.Process]) -> bool:
    return not any(guard.runs(process) for process in processes)


def test_kill_9_of_the_owner_ends_every_server_and_the_next_stack_starts(data_dir, eventually):
    owner, processes = start_owner(data_dir, "kafka,postgres,valkey")
    assert len(processes) > 3, "PostgreSQL's own children are among them"
    owner.kill()
    owner.wait()
    stack = Stack(data_dir)
    stack.start(["postgres", "valkey"])  # at once: it waits for the guard of the first
    assert none_runs(processes)
    stack.stop()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_servers_end_with_an_owner_that_a_signal_ends(data_dir, eventually, ending):
    owner, processes = start_owner(data_dir, "valkey")
    owner.send_signal(ending)
    owner.wait(30)
    eventually(lambda: none_runs(processes))


def test_a_fork_of_the_owner_does_not_keep_its_servers_alive(data_dir, eventually):
    owner, processes = start_owner(data_dir, "valkey", "--fork")
    fork = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    eventually(lambda: none_runs(processes))
    stack = Stack(data_dir)
    stack.start(["valkey"])  # nor does it keep the lock
    stack.stop()
    os.kill(fork, signal.SIGKILL)


def test_server_of_an_owner_that_died_before_telling_the_guard_never_starts(tmp_path):
    from deploy.embedded.process import WAIT_FOR_THE_WORD

    witness = tmp_path / "started"
    waiting = subprocess.Popen(
        ["/bin/sh", "-c", WAIT_FOR_THE_WORD, "sh", "touch", str(witness)], stdin=subprocess.PIPE
    )
    waiting.stdin.close()  # what the kernel does for a dead owner
    waiting.wait(10)
    assert not witness.exists()


def test_module_prints_the_variables_and_stops_on_ctrl_c(data_dir):
    program = subprocess.Popen(
        [sys.executable, "-c", MODULE, "--data-dir", str(data_dir), "valkey"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert program.stdout.readline().startswith("REDIS_URL=redis://:")
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 0


def test_ctrl_c_while_servers_start_leaves_nothing(data_dir, eventually):
    program = subprocess.Popen(
        [sys.executable, "-c", MODULE, "--data-dir", str(data_dir)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    eventually((data_dir / "logs" / "kafka.log").exists)  # Kafka takes another second or two
    servers = psutil.Process(program.pid).children(recursive=True)
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 130
    assert "Traceback" not in program.stderr.read()
    assert none_runs(servers)
