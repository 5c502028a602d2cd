"""What Kafka needs from the machine: Java, and the jars that Maven brings."""

import threading
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedError, Stack
from deploy.embedded.kafka import jars

DOWNLOAD = """
for argument; do case $argument in -DoutputDirectory=*) out=${argument#*=} ;; esac; done
echo called >> "$CALLS"
echo jar > "$out/one.jar"
echo jar > "$out/two.jar"
"""


@pytest.fixture
def pom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    pom = tmp_path / "pom.xml"
    pom.write_text("<project/>")
    return pom


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_jars_are_downloaded_once(tool, pom, tmp_path):
    tool("mvn", DOWNLOAD)
    first, second = (jars.resolve(pom, tmp_path / "cache") for _ in range(2))
    assert first == second
    assert names(first) == ["one.jar", "two.jar"]
    assert (tmp_path / "calls").read_text() == "called\n"


def test_another_pom_has_jars_of_its_own(tool, pom, tmp_path):
    tool("mvn", DOWNLOAD)
    first = jars.resolve(pom, tmp_path / "cache")
    pom.write_text("<project><version>2</version></project>")
    assert first != jars.resolve(pom, tmp_path / "cache")


def test_parallel_callers_share_one_download(tool, pom, tmp_path):
    tool("mvn", DOWNLOAD)
    callers = [threading.Thread(target=jars.resolve, args=(pom, tmp_path / "cache")) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (tmp_path / "calls").read_text() == "called\n"


def test_failed_download_shows_why_and_is_not_taken_for_complete(tool, pom, tmp_path):
    tool("mvn", DOWNLOAD + "echo '[ERROR] no route to repository'; exit 1")
    with pytest.raises(EmbeddedError, match=r"cannot download Kafka's jars: .*(?s:.*)no route to repository"):
        jars.resolve(pom, tmp_path / "cache")
    tool("mvn", DOWNLOAD)
    assert names(jars.resolve(pom, tmp_path / "cache")) == ["one.jar", "two.jar"]


def test_a_download_without_jars_is_not_taken_for_complete(tool, pom, tmp_path):
    tool("mvn", "exit 0")
    with pytest.raises(EmbeddedError, match="has brought none"):
        jars.resolve(pom, tmp_path / "cache")
    tool("mvn", DOWNLOAD)
    assert names(jars.resolve(pom, tmp_path / "cache")) == ["one.jar", "two.jar"]


def test_leftover_of_a_killed_download_is_removed(tool, pom, tmp_path):
    leftover = tmp_path / "cache" / "kafka-abc.part"
    leftover.mkdir(parents=True)
    (leftover / "half.jar").touch()
    tool("mvn", DOWNLOAD)
    assert names(jars.resolve(pom, tmp_path / "cache")) == ["one.jar", "two.jar"]
    assert not leftover.exists()


def test_missing_maven_is_named_with_a_remedy(no_tools, pom, tmp_path):
    with pytest.raises(
        EmbeddedError, match=r"no `mvn` on the PATH: install it \(Debian, Ubuntu: apt-get install maven\)"
    ):
        jars.resolve(pom, tmp_path / "cache")


def test_cache_that_cannot_be_written_is_named(tool, pom, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="set XDG_CACHE_HOME to a directory you can write"):
        jars.resolve(pom, tmp_path / "file" / "cache")


def test_missing_java_is_named_with_a_remedy(no_tools, data_dir):
    with pytest.raises(
        EmbeddedError, match=r"^Kafka needs Java 17 or newer, and there is no `java` on the PATH: install it"
    ):
        Stack(data_dir).start(["kafka"])


def test_old_java_is_named_with_its_version(tool, data_dir, monkeypatch):
    java = tool("java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    tool("mvn", "exit 1")  # nothing is downloaded for it
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(
        EmbeddedError, match=rf"^Kafka needs Java 17 or newer, and {java} is Java 11: install it"
    ):
        Stack(data_dir).start(["kafka"])


def test_java_home_goes_before_the_path(no_tools, data_dir, monkeypatch, tmp_path):
    home = tmp_path / "jdk" / "bin"
    home.mkdir(parents=True)
    (home / "java").write_text("#!/bin/sh\necho 'java version \"1.8.0_411\"'\n")
    (home / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home.parent))
    with pytest.raises(EmbeddedError, match=rf"{home}/java is Java 8"):
        Stack(data_dir).start(["kafka"])


def test_pom_names_no_host():
    assert "//" not in jars.POM.read_text().replace("<!--", "").replace("-->", "")
