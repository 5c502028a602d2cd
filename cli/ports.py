"""The ports of `clusterflow all`, looked at before anything is started.

A role whose port is taken would end and be restarted over and over, while another program answers in its
place. So the check comes first, and its message names each port, the program that has it, and a command that
starts beside it.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Final, NamedTuple

from deploy.embedded.ports import HOST, holder, is_free
from domain.errors import ControlPlaneError
from settings import Settings

STEP: Final = 10  # from one set of ports that is tried to the next: 8080 and 8081, 8090 and 8091, …
TRIED: Final = 100
LAST_PORT: Final = 65535
OURS: Final = frozenset({"PORT", "METRICS_PORT", "GRPC_SERVICE_PORT"})


class PortsTaken(ControlPlaneError):
    """Ports that this run needs are not to be had; the text says which, who has them, and what to do."""


class NeededPort(NamedTuple):
    """A port that something of this run is to listen on; `setting` decides it."""

    setting: str
    port: int
    host: str
    what: str


def needed_ports(settings: Settings, *, roles: Sequence[str], embedded: Iterable[str]) -> list[NeededPort]:
    """The ports that settings decide; those that the embedded servers choose by themselves are free."""
    ports = [NeededPort("PORT", settings.port, settings.bind_host, "REST")]
    for index, role in enumerate(roles):
        what = f"metrics of {role}"
        ports.append(NeededPort("METRICS_PORT", settings.metrics_port + index, settings.bind_host, what))
    ports.append(NeededPort("GRPC_SERVICE_PORT", settings.grpc_service_port, settings.bind_host, "gRPC"))
    for name in embedded:
        port = getattr(settings, f"embedded_{name}_port")
        if port is not None:
            ports.append(NeededPort(f"EMBEDDED_{name.upper()}_PORT", port, HOST, name))
    return ports


def refuse_taken(needed: Sequence[NeededPort]) -> None:
    """Raises: PortsTaken: a port is taken, or two things of this run would need the same."""
    faults = [*_doubled(needed), *_taken(needed)]
    if not faults:
        return
    lines = "\n".join(f"  {each.setting:<17} {each.port:>5}  {each.what}: {why}" for each, why in faults)
    remedy = _remedy(needed, {each.setting for each, _ in faults})
    raise PortsTaken(
        f"Nothing was started, since these ports are not free:\n{lines}\n"
        f"End what has them, or start beside it:\n  {remedy}"
    )


def passing(needed: Iterable[NeededPort]) -> list[int]:
    """The ports that are taken only by connections that have ended, so that they are free again soon."""
    found = {each.port: holder(each.port, each.host) for each in needed}
    return [port for port, who in found.items() if who is not None and who.passing]


def _doubled(needed: Sequence[NeededPort]) -> list[tuple[NeededPort, str]]:
    return [
        (each, f"the same as of {other.what} ({other.setting})")
        for index, each in enumerate(needed)
        for other in needed[:index]
        if other.port == each.port
    ]


def _taken(needed: Iterable[NeededPort]) -> list[tuple[NeededPort, str]]:
    found = [(each, holder(each.port, each.host)) for each in needed]
    return [(each, f"taken by {who.text}") for each, who in found if who is not None]


def _remedy(needed: Sequence[NeededPort], faulty: Set[str]) -> str:
    """The same start on ports that are free."""
    words = [f"{name}=" for name in sorted(faulty - OURS)]  # empty: not set, so any that is free
    if faulty & OURS:
        ours = [each for each in needed if each.setting in OURS]
        last = LAST_PORT - len(ours)
        for first in range(ours[0].port + STEP, min(last, ours[0].port + STEP * TRIED), STEP):
            if all(is_free(first + index, each.host) for index, each in enumerate(ours)):
                last_port = first + len(ours) - 1
                words += [f"PORT={first}", f"METRICS_PORT={first + 1}", f"GRPC_SERVICE_PORT={last_port}"]
                break
    return " ".join([*words, "make run"])
