"""The jars of the embedded Kafka: resolved by Maven from `deploy/kafka/pom.xml`, once a machine and pom.

They are kept outside the tree, so that every checkout and every clean build shares them. A directory with the
final name is always complete: Maven fills another one next to it, which is then renamed.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

from deploy.embedded import process
from deploy.embedded.errors import EmbeddedError

KAFKA_FILES = Path(__file__).parents[2] / "kafka"
POM = KAFKA_FILES / "pom.xml"
DOWNLOAD_WITHIN = 900.0  # seconds; 43 MB, on a slow line too

logger = logging.getLogger(__name__)


def cache_home() -> Path:
    """Where Clusterflow caches: `$XDG_CACHE_HOME/clusterflow`, by default below `~/.cache`."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "clusterflow"


def resolve(pom: Path = POM, cache: Path | None = None) -> Path:
    """The directory that holds exactly the jars the pom names; downloads them at the first call.

    Raises: EmbeddedError: Maven is missing or failed, or the cache cannot be written.
    """
    cache = cache_home() if cache is None else cache
    jars = cache / f"kafka-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    if jars.is_dir():
        return jars
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "kafka.lock").open("w") as lock:
            _wait_for(lock)
            if not jars.is_dir():
                _download(pom, jars)
    except OSError as error:
        raise EmbeddedError(
            f"cannot keep Kafka's jars in {cache}: {error.strerror}; "
            "set XDG_CACHE_HOME to a directory you can write"
        ) from error
    return jars


def _wait_for(lock: TextIO) -> None:
    """Take the lock; another process may have it to download the same."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("another program downloads Kafka's jars; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _download(pom: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise EmbeddedError(
            "Kafka's jars are resolved by Maven, and there is no `mvn` on the PATH: "
            "install it (Debian, Ubuntu: apt-get install maven), "
            "or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka"
        )
    for leftover in jars.parent.glob("kafka-*.part"):
        shutil.rmtree(leftover)  # of a download that was killed; we hold the lock
    part = Path(tempfile.mkdtemp(prefix="kafka-", suffix=".part", dir=jars.parent))
    try:
        part.chmod(0o755)
        process.run(
            [
                maven,
                "--batch-mode",
                "--quiet",
                "--file",
                str(pom),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={part}",
            ],
            failure="cannot download Kafka's jars",
            timeout=DOWNLOAD_WITHIN,
            doing=f"downloading Kafka's jars with Maven (43 MB, once) to {jars}",
        )
        if not any(part.glob("*.jar")):  # `mvn` is a script, and ends as the `java` on the PATH does
            raise EmbeddedError("cannot download Kafka's jars: Maven names no error, and has brought none")
        part.rename(jars)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # the next start would do it as well
        raise
