"""The checker of droplets finds each thing that can be wrong, and nothing where all is well."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.droplets import DropletHistory, Made, SeenDroplets, check_droplets

CLUSTER, GONE = "c", "g"
SHOWN = {"id": CLUSTER, "droplets": ["droplet-a"]}


def history() -> DropletHistory:
    """One droplet of a cluster, one of none that was deleted, and one whose cluster was."""
    return DropletHistory(
        droplets=[Made("droplet-a", CLUSTER), Made("droplet-b", None, True), Made("droplet-c", GONE, True)]
    )


def droplet(id: str, address: str | None, cluster_id: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {"id": id, "name": id, "status": "active"}
    return (
        made
        | ({} if address is None else {"ip_address": address})
        | ({} if cluster_id is None else {"cluster_id": cluster_id})
    )


def well() -> SeenDroplets:
    """What is to be seen of them."""
    seen = SeenDroplets()
    life = ["droplet.created", "droplet.updated", "droplet.deleted"]
    for id, cluster_id, address in (
        ("droplet-a", CLUSTER, "10.0.0.1"),
        ("droplet-b", None, "10.0.0.2"),
        ("droplet-c", GONE, "10.0.0.3"),
    ):
        live = id == "droplet-a"
        seen.events[id] = life[:2] if live else life
        seen.droplets[id] = {
            "deleted_at": None if live else "then",
            "droplet": droplet(id, address, cluster_id),
        }
    seen.blocks["10.0.0.0"] = {"block": {"held": {"10.0.0.1": "droplet-a"}}}
    seen.members[CLUSTER] = {"deleted_at": None, "members": {"droplets": ["droplet-a"]}}
    seen.members[GONE] = {"deleted_at": "then", "members": {"droplets": ["droplet-c"]}}
    shown = {**droplet("droplet-a", "10.0.0.1", CLUSTER), "cluster": SHOWN}
    seen.answers["web"] = {"droplet-a": shown, "droplet-b": None, "droplet-c": None}
    return seen


def found(seen: SeenDroplets, told: DropletHistory | None = None) -> set[str]:
    return {finding.kind for finding in check_droplets(told or history(), seen)}


def test_nothing_is_found_where_all_is_well():
    assert set() == found(well())


def no_state(seen: SeenDroplets) -> None:
    del seen.droplets["droplet-b"]


def no_end(seen: SeenDroplets) -> None:
    seen.events["droplet-c"].pop()


def revived(seen: SeenDroplets) -> None:
    seen.droplets["droplet-b"]["deleted_at"] = None  # type: ignore[index]


def vanished(seen: SeenDroplets) -> None:
    seen.droplets["droplet-a"]["deleted_at"] = "then"  # type: ignore[index]


def told_twice(seen: SeenDroplets) -> None:
    seen.events["droplet-b"].append("droplet.deleted")


def unknown(seen: SeenDroplets) -> None:
    seen.droplets["droplet-x"] = {"deleted_at": "then", "droplet": droplet("droplet-x", None, None)}


def waiting(seen: SeenDroplets) -> None:
    seen.droplets["droplet-a"]["droplet"]["status"] = "provisioning"


def leaked(seen: SeenDroplets) -> None:
    seen.blocks["10.0.0.0"]["block"]["held"]["10.0.0.2"] = "droplet-b"


def left_out(seen: SeenDroplets) -> None:
    seen.members[CLUSTER]["members"]["droplets"] = []


def kept(seen: SeenDroplets) -> None:
    seen.members[GONE] = {"deleted_at": None, "members": {"droplets": ["droplet-c"]}}


def not_shown(seen: SeenDroplets) -> None:
    seen.answers["web"]["droplet-a"] = None


def not_among(seen: SeenDroplets) -> None:
    seen.answers["web"]["droplet-a"]["cluster"] = {"id": CLUSTER, "droplets": []}  # type: ignore[index]


def two_contents(seen: SeenDroplets) -> None:
    seen.faults.append("two contents")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (no_state, "lost"),
        (no_end, "lost"),
        (revived, "lost"),
        (vanished, "wrong"),
        (told_twice, "doubled"),
        (unknown, "wrong"),
        (waiting, "unanswered"),
        (leaked, "wrong"),
        (left_out, "wrong"),
        (kept, "wrong"),
        (not_shown, "wrong"),
        (not_among, "wrong"),
        (two_contents, "wrong"),
    ],
)
def test_what_is_wrong_is_found(harm: Callable[[SeenDroplets], None], kind: str):
    seen = well()
    harm(seen)
    assert kind in found(seen)


def test_one_address_twice_is_found():
    seen = well()
    seen.droplets["droplet-b"] = {"deleted_at": None, "droplet": droplet("droplet-b", "10.0.0.1", None)}
    assert "doubled" in found(seen)


def test_what_its_client_has_seen_is_told():
    told = history()
    told.wrong.append("500")
    told.unanswered.append("create")
    assert {"wrong", "unanswered"} == found(well(), told)


def test_a_create_of_unknown_outcome_may_have_made_one():
    seen, told = well(), history()
    unknown(seen)
    told.opened.append("droplet-x")
    assert set() == found(seen, told)
