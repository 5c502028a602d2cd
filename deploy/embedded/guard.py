"""Ends the servers of a stack once its owner is gone, also after a kill -9 of the owner.

Run as a script by `process.Guard`, one a stack. The owner holds the other end of the pipe on stdin and writes
the pid of each server to it before it lets the server run, so there is no moment in which one runs that the
guard does not know of. End of file, or another parent than the owner, means that the owner is gone. A guard
serves where PR_SET_PDEATHSIG does not: that is Linux only, is cleared when the user id changes (PostgreSQL
under root), fires when the *thread* that started the server ends, and does not reach PostgreSQL's own
children.

The guard also inherits the lock on the data directory and so keeps the next stack out until the last server
is dead.
"""

import fcntl
import os
import select
import sys
import time

import psutil

LOOK_AT_PARENT = 0.5  # seconds; the pipe tells at once, unless a fork of the owner still holds its other end
DIE_WITHIN = 10.0  # seconds; a killed process goes at once unless it hangs in the kernel
POLL = 0.01  # seconds


def watch(owner: int) -> list[psutil.Process]:
    """Note the servers the owner names until it is gone; returns them all, also those that have ended."""
    servers: list[psutil.Process] = []
    buffered = b""
    while True:
        readable, _, _ = select.select([0], [], [], LOOK_AT_PARENT)
        if not readable and os.getppid() != owner:
            return servers
        if not readable:
            continue
        chunk = os.read(0, 4096)
        if not chunk:
            return servers
        *lines, buffered = (buffered + chunk).split(b"\n")
        servers += [server for pid in lines if (server := process(int(pid))) is not None]


def process(pid: int) -> psutil.Process | None:
    """The process with this pid; psutil tells it from a later one with the same pid by the start time."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def kill_trees(roots: list[psutil.Process]) -> None:
    """SIGKILL these processes and all below them, and wait until they are gone.

    A PostgreSQL backend forked between the listing and the kill sees its postmaster die and ends by itself.
    """
    doomed: list[psutil.Process] = []
    for root in roots:
        try:
            doomed += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue  # it has ended by itself, which is what we want
    for each in doomed:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + DIE_WITHIN
    while any(runs(each) for each in doomed) and time.monotonic() < deadline:
        time.sleep(POLL)


def runs(one: psutil.Process) -> bool:
    """Whether it still does anything; one that is dead and not yet asked after (a zombie) does not."""
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    """`guard.py OWNER_PID LOCK_FD`, the pipe on stdin."""
    owner, lock = int(sys.argv[1]), int(sys.argv[2])
    kill_trees(watch(owner))
    fcntl.flock(lock, fcntl.LOCK_UN)  # said aloud: a fork of the owner may still have the same lock open


if __name__ == "__main__":
    main()
