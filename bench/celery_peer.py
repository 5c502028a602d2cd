"""`python -m bench.celery_peer URL`: Celery on Valkey, one process, each task acknowledged once it is done.

As our tasks are: done by a function that does nothing, kept until it is done (`acks_late`), with a result
that is kept. It runs in an environment of its own (`bench/celery.lock`). The worker is a child process;
`ready` names its pid. Each line of standard input is the size of a burst to queue, and is answered with
`queued`.
"""

import subprocess
import sys

from celery import Celery  # type: ignore[import-not-found]  # in an environment of its own


def app(url: str) -> Celery:
    """The application, the same in both processes."""
    made = Celery("bench", broker=url, backend=url)
    made.conf.update(
        task_acks_late=True,
        task_ignore_result=False,
        worker_prefetch_multiplier=64,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
    )

    @made.task(name="resize")  # type: ignore[untyped-decorator]
    def resize(resource_id: str) -> str:
        return f"Completed resize for resource {resource_id}"

    return made


def main() -> None:
    """Queue what is asked for, beside a worker."""
    url, *rest = sys.argv[1:]
    celery = app(url)
    if rest == ["worker"]:
        celery.worker_main(
            ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
        )
        return
    worker = subprocess.Popen([sys.executable, "-m", "bench.celery_peer", url, "worker"])
    try:
        celery.send_task("resize", ["first"]).get(timeout=60)
        print("ready", worker.pid, flush=True)
        for line in sys.stdin:
            for number in range(int(line)):
                celery.send_task("resize", [f"r-{number}"])
            print("queued", flush=True)
    finally:
        worker.kill()


if __name__ == "__main__":
    main()
