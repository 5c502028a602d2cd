"""The rows of the contract's table of status scenarios, word for word (section 3).

A row is what a cluster says in three places: (phase, reason, message), then (status, reason, message) of its
conditions `Ready` and `Available`. `n` reports count, `r` of them are ready, `m` minutes of the grace are
left, `k` minutes have passed since the first report.
"""

from typing import NamedTuple

from domain.cluster.state import Status

_Words = tuple[str, str, str]


class Row(NamedTuple):
    """What is said at the top, in `Ready` and in `Available`."""

    top: _Words
    ready: _Words
    available: _Words

    @property
    def phase(self) -> str:
        return self.top[0]


def said(status: Status) -> Row:
    """A status as the row it claims to be."""
    ready, available = ((c.status, c.reason, c.message) for c in status.conditions)
    return Row((status.phase, status.reason, status.message), ready, available)


def s1() -> Row:
    nobody = ("False", "NoControllers", "No controllers have reported status yet")
    return Row(("Pending", "NoControllers", "Waiting for controllers to report status"), nobody, nobody)


def s2(n: int) -> Row:
    return Row(
        ("Ready", "AllControllersReady", f"Cluster is ready with {n} controllers operational"),
        ("True", "AllControllersReady", f"All {n} controllers are ready"),
        ("True", "AllControllersReady", f"All {n} controllers are available"),
    )


def s3(r: int, n: int) -> Row:
    return Row(
        ("Progressing", "PartialProgress", f"Cluster is progressing ({r}/{n} controllers ready)"),
        ("False", "PartialProgress", f"{r} of {n} controllers are ready"),
        ("False", "PartialProgress", f"Controllers are still working ({r} ready of {n})"),
    )


def s4(r: int, n: int) -> Row:
    message = f"Cluster is progressing but some controllers have errors ({r}/{n} ready)"
    return Row(
        ("Progressing", "ControllersWithErrors", message),
        s3(r, n).ready,
        ("False", "ControllersWithErrors", f"Some controllers have errors ({r} ready of {n})"),
    )


def s5(n: int, m: int) -> Row:
    left = f"({m} minutes remaining) " if m else ""
    message = f"Controllers are provisioning resources {left}({n} controllers working)"
    return Row(
        ("Progressing", "ControllersProvisioning", message),
        ("False", "ControllersNotYetReady", f"Controllers are still working ({n} of {n} controllers)"),
        ("False", "ControllersBecomingAvailable", f"Controllers are becoming available ({n} working)"),
    )


def s6(n: int) -> Row:
    message = f"Controllers are actively working but not yet ready ({n} controllers showing progress)"
    return Row(("Progressing", "ControllersShowingProgress", message), *s5(n, 0)[1:])


def s7(n: int, k: int) -> Row:
    message = f"Controllers failed to become ready after {k} minutes with no progress"
    return Row(
        ("Failed", "ControllerTimeout", f"{message} ({n} controllers timed out)"),
        ("False", "ControllersTimedOut", f"Controllers timed out after {k} minutes"),
        ("False", "ControllersTimedOut", f"No controllers became available after {k} minutes"),
    )


def s8(n: int) -> Row:
    message = f"Cluster failed - no controllers are operational ({n} controllers exist)"
    return Row(
        ("Failed", "NoControllersReady", message),
        ("False", "NoControllersReady", f"None of {n} controllers are ready"),
        ("False", "NoControllersReady", f"None of {n} controllers are available"),
    )
