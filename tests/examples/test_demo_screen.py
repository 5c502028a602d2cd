"""What the demo shows of the controller that fails on purpose."""

from io import StringIO

import pytest
from rich.console import Console

from examples.demo.progress import Progress, SeenCluster, SeenReport
from examples.demo.screen import LineScreen, LiveScreen, recovery

EXPECTED = {"aws": frozenset({"aws-network"})}


@pytest.fixture
def progress() -> Progress:
    """One cluster that is among those the controller fails for, and one that isn't."""
    progress = Progress(wanted=2, expected=EXPECTED, unlucky={"aws-network": "demo-aws-*2"})
    for number in (1, 2):
        name = f"demo-aws-{number:02}"
        progress.see_cluster(
            SeenCluster(id=name, name=name, platform="aws", generation=1, phase="Pending", message="")
        )
    return progress


def reported(progress: Progress, name: str, *, available: bool) -> None:
    progress.see_report(
        SeenReport(
            cluster_id=name,
            controller="aws-network",
            generation=1,
            available=available,
            message="the provider is busy",
            failed=not available,
        )
    )


def picture(progress: Progress) -> str:
    console = Console(file=StringIO(), force_terminal=True, width=110, height=40, color_system=None)
    console.print(LiveScreen(console, progress)._picture())
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_the_picture_names_who_fails_on_purpose_from_the_beginning(progress: Progress) -> None:
    assert "aws-network fails on purpose for demo-aws-*2\nnot yet" in picture(progress)


def test_the_picture_keeps_each_such_failure_and_what_came_of_it(progress: Progress) -> None:
    for _ in range(2):
        reported(progress, "demo-aws-02", available=False)
    assert "demo-aws-02 2×" in picture(progress)
    reported(progress, "demo-aws-02", available=True)
    for number in range(100):
        progress.note("worker", f"something else {number}")
    assert "demo-aws-02 2× → done" in picture(progress)


def test_lines_tell_each_failure_and_its_end_once(progress: Progress) -> None:
    console = Console(file=StringIO(), width=110)
    lines = LineScreen(console, progress)
    for available in (False, False, True, True):
        reported(progress, "demo-aws-02", available=available)
        lines.tick()
    assert isinstance(console.file, StringIO)
    told = [line.partition("]")[2].strip() for line in console.file.getvalue().splitlines()]
    assert told == [
        "on purpose: aws-network fails for demo-aws-02, and will try again",
        "aws-network is done with demo-aws-02 after 2 failures",
    ]


def test_a_failure_that_is_not_on_purpose_is_none_of_them(progress: Progress) -> None:
    reported(progress, "demo-aws-01", available=False)
    assert ([], "") == (progress.stumbles(), recovery(progress))
