"""How the demo shows itself: a live picture in a terminal, plain lines everywhere else.

Both only read the progress. The picture redraws itself from a thread of rich's; the lines are printed when
there is something new, so that a log of CI reads like the story it is.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from examples.demo.progress import PHASES, Change, Progress, Step, Stumble
from examples.demo.summary import Account

FRAMES: Final = 8  # a second
SHORT: Final = 0.05  # seconds; not worth a number
PHASE_STYLES: Final = {"Pending": "dim", "Progressing": "yellow", "Ready": "green", "Failed": "red"}
REPORT_STYLES: Final = {"ready": "green", "waiting": "yellow", "failed": "red"}
CHANGES_SHOWN: Final = (3, 12)  # at least, at most; in between as the terminal's height allows
OTHER_LINES: Final = 13  # around steps and changes: head, tables, bar, failures, and the cursor's
STEP_WIDTH: Final = 70  # so that the times beside the steps stay where they are
LINES_EVERY: Final = 2.0  # seconds between two plain lines of counts
STEPS_EVERY: Final = 5.0  # seconds between two plain lines on a step that lasts


class Screen(AbstractContextManager["Screen"]):
    """What both kinds of screen can do."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.console = console
        self.progress = progress

    def tick(self) -> None:
        """Something may have changed."""

    def say(self, text: str) -> None:
        """Show a line beside what the progress tells."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show what was left to show."""
        self.tick()


class LiveScreen(Screen):
    """The whole picture, redrawn in place."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console, progress)
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._picture, console=console, refresh_per_second=FRAMES)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Above the picture, where it stays."""
        self._live.console.print(f"  {text}", style="dim", markup=False, highlight=False)

    def _picture(self) -> RenderableType:
        progress = self.progress
        head = Text.assemble(
            ("Clusterflow demo", "bold"), f"   {progress.wanted} clusters, {progress.elapsed:.0f} s"
        )
        parts: list[RenderableType] = [head, self._steps()]
        if progress.clusters:
            tables = Table.grid(padding=(0, 3))  # side by side within 80 columns
            tables.add_row(phase_table(progress), report_table(progress))
            parts += ["", tables, "", self._bar(), on_purpose(progress), "", *self._changes()]
        return Group(*parts)

    def _steps(self) -> Table:
        steps = Table.grid(padding=(0, 1))
        steps.add_column(width=2)
        steps.add_column(min_width=min(STEP_WIDTH, self.console.width - 12), no_wrap=True)
        steps.add_column(justify="right", style="dim")
        for step in self._shown_steps():
            steps.add_row(self._mark(step), step.text, _took(step))
        return steps

    def _mark(self, step: Step) -> RenderableType:
        if step.ended is not None:
            return Text("✓", "green")
        return self._spinner if step is self.progress.steps[-1] else Text("✗", "red")

    def _shown_steps(self) -> list[Step]:
        """The last ones, where not all of them have room."""
        room = self.console.height - OTHER_LINES - CHANGES_SHOWN[0]
        return list(self.progress.steps)[-max(1, room) :]

    def _bar(self) -> Table:
        ready, wanted = self.progress.ready(), self.progress.wanted
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            "Ready",
            ProgressBar(total=wanted, completed=ready, width=50, complete_style="green"),
            f"{ready}/{wanted}",
        )
        return bar

    def _changes(self) -> list[Text]:
        least, most = CHANGES_SHOWN
        room = self.console.height - OTHER_LINES - len(self._shown_steps())
        changes = list(self.progress.changes)[-max(least, min(most, room)) :]
        return [Text.assemble(*_change(change), no_wrap=True, overflow="ellipsis") for change in changes]


class LineScreen(Screen):
    """One line per step, change of plan and, every other second, the counts."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console, progress)
        self._told = 0
        self._counts = ""
        self._counted_at = 0.0
        self._printed_at = 0.0
        self._stumbles: dict[str, Stumble] = {}

    def say(self, text: str) -> None:
        """As every line."""
        self._print(f"  {text}")

    def tick(self) -> None:
        """Print what is new."""
        steps = self.progress.steps
        while self._told < len(steps) and steps[self._told].ended is not None:
            self._print(steps[self._told].text, at=steps[self._told].ended)
            self._told += 1
        phases = self.progress.phases()
        counts = ", ".join(f"{phases[phase]} {phase}" for phase in PHASES if phases[phase])
        running = self._told < len(steps)
        if running and counts != self._counts and self.progress.elapsed - self._counted_at >= LINES_EVERY:
            self._print(f"  {counts}; {self.progress.reported.total()} reports")
            self._counts, self._counted_at = counts, self.progress.elapsed
        self._tell_stumbles()
        if running and self.progress.elapsed - self._printed_at >= STEPS_EVERY:
            step = steps[self._told]
            self._print(f"  … {step.text}: for {self.progress.elapsed - step.began:.0f} s now")

    def _tell_stumbles(self) -> None:
        """A line on each cluster that fails on purpose, once when it does and once when it no longer does."""
        for stumble in self.progress.stumbles():
            before = self._stumbles.get(stumble.name)
            self._stumbles[stumble.name] = stumble
            if before is None:
                self._print(
                    f"  on purpose: {stumble.controller} fails for {stumble.name}, and will try again"
                )
            if stumble.recovered and not (before and before.recovered):
                failures = _failures(stumble.failures)
                self._print(f"  {stumble.controller} is done with {stumble.name} after {failures}")

    def _print(self, text: str, at: float | None = None) -> None:
        moment = self.progress.elapsed if at is None else at
        self._printed_at = self.progress.elapsed
        self.console.print(f"[{moment:5.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)


def screen(console: Console, progress: Progress) -> Screen:
    """The kind that fits where the output goes."""
    kind: Callable[[Console, Progress], Screen] = LiveScreen if console.is_terminal else LineScreen
    return kind(console, progress)


def phase_table(progress: Progress) -> Table:
    """Clusters by platform and phase."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("clusters", style="bold")
    for phase in PHASES:
        table.add_column(phase, justify="right", style=PHASE_STYLES[phase])
    for platform in sorted(progress.expected):
        phases = progress.phases(platform)
        table.add_row(platform, *(_count(phases[phase]) for phase in PHASES))
    return table


def report_table(progress: Progress) -> Table:
    """Reports by controller and what they said."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("reports of", style="bold")
    for kind, style in REPORT_STYLES.items():
        table.add_column(kind, justify="right", style=style)
    for controller in sorted(frozenset().union(*progress.expected.values())):
        table.add_row(controller, *(_count(progress.reported[controller, kind]) for kind in REPORT_STYLES))
    return table


def on_purpose(progress: Progress) -> Text:
    """Which controller fails on purpose, for which clusters, and what came of it."""
    stumbles = progress.stumbles()
    parts: list[tuple[str, str]] = []
    for controller, names in progress.unlucky.items():
        parts.append((f"{controller} fails on purpose for {names}\n", "bold"))
        own = [stumble for stumble in stumbles if stumble.controller == controller]
        shown = [
            (f"{each.name} {each.failures}×{' → done' if each.recovered else ''}   ", mood)
            for each in own
            for mood in ("green" if each.recovered else "red",)
        ]
        parts += shown or [("not yet", "dim")]
    return Text.assemble(*parts)


def recovery(progress: Progress) -> str:
    """The sentence about failures on purpose; empty when there were none."""
    stumbles = progress.stumbles()
    if not stumbles:
        return ""
    who = ", ".join(sorted({stumble.controller for stumble in stumbles}))
    names = ", ".join(stumble.name for stumble in stumbles)
    failures = sum(stumble.failures for stumble in stumbles)
    return f"{who} had {_failures(failures)} on purpose, for {names}; it tried again, and all are Ready."


def _failures(number: int) -> str:
    return "1 failure" if number == 1 else f"{number} failures"


def _count(number: int) -> str:
    return str(number) if number else "·"


def _took(step: Step) -> str:
    """How long it took; empty while it lasts, and for what takes no time."""
    took = (step.ended or step.began) - step.began
    return f"{took:.1f} s" if took >= SHORT else ""


def _change(change: Change) -> tuple[tuple[str, str], ...]:
    return (
        (f"{change.at:5.1f} s  ", "dim"),
        (f"{change.subject:<14}", "bold"),
        (change.text, change.mood),
    )


def account_tables(account: Account) -> RenderableType:
    """What PostgreSQL holds, in three small tables side by side."""
    tables = Table.grid(padding=(0, 4))
    clusters, controllers = account.by_platform_and_phase(), account.by_controller()
    tables.add_row(
        _tally("clusters", {f"{platform} {phase}": n for (platform, phase), n in clusters.items()}),
        _tally("events", account.by_type()),
        _tally(
            "reports",
            {f"{name} {'ready' if ready else 'not ready'}": n for (name, ready), n in controllers.items()},
        ),
    )
    return Group("", Text("In PostgreSQL", "bold"), tables, "")


def agreement(account: Account, progress: Progress) -> str:
    """The sentence the demo is about."""
    phases = Counter(seen.phase for seen in account.clusters)
    repeated = f", {progress.repeated_events} came twice and count once" if progress.repeated_events else ""
    return (
        f"PostgreSQL and the API agree: {len(account.clusters)} clusters"
        f" ({', '.join(f'{number} {phase}' for phase, number in phases.items())}),"
        f" {len(account.reports)} reports; none of {len(progress.events)} events is lost{repeated}."
    )


def _tally(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True)
    table.add_column(justify="right", style="green")
    for name, number in sorted(counts.items()):
        table.add_row(name, str(number))
    return table
