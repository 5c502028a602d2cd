"""Clusters as operators see them (operations contract, section 15)."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tables.cluster import ClusterView
from tables.flat import Flat, FlatCluster
from tests.tables.given import START, Record, document, value

CHECKED = START.replace(hour=3).isoformat()


def shown(droplets: Sequence[str] = (), *, spec: dict[str, Any] | None = None, **members: Any) -> FlatCluster:
    """A cluster of a view, flat."""
    view = ClusterView()
    cluster = json.loads(document("c", **members))
    cluster["name"] = "one"
    cluster["status"]["lastUpdateTime"] = CHECKED
    cluster["spec"] |= spec or {}
    view.apply(Record(b"c", value(json.dumps(cluster).encode())))
    flat = Flat(view, lambda cluster_id: droplets).cluster("c")
    assert flat is not None
    return flat


@pytest.mark.parametrize(
    ("phase", "health"),
    [
        ("Pending", "healthy"),
        ("Progressing", "healthy"),
        ("Ready", "healthy"),
        ("Failed", "critical"),
        ("Error", "critical"),
    ],
)
def test_a_cluster_is_as_healthy_as_its_phase(phase, health):
    assert health == shown(phase=phase).status


@pytest.mark.parametrize(
    ("spec", "region"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({"region": " nyc3 "}, "nyc3", id="with space around it"),
        pytest.param({"region": " ", "platform": {"type": "gcp", "gcp": {"region": " "}}}, "", id="blank"),
        pytest.param({"region": "nyc3"}, "nyc3", id="its own"),
        pytest.param({"platform": {"type": "GCP", "gcp": {"region": "eu"}}}, "eu", id="of its platform"),
        pytest.param({"region": "nyc3", "platform": {"type": "gcp", "gcp": {"region": "eu"}}}, "nyc3"),
        pytest.param({"region": 7, "platform": {"type": "gcp", "gcp": {"region": ["x"]}}}, "", id="no text"),
        pytest.param({"platform": {"type": "gcp", "gcp": "x"}}, "", id="no object"),
    ],
)
def test_its_region_is_that_of_its_spec_or_of_its_platform(spec, region):
    assert region == shown(spec=spec).region


def test_it_shows_its_droplets_and_when_it_was_checked():
    flat = shown(["a", "b"])
    assert (["a", "b"], CHECKED) == (flat.droplets, flat.last_checked.isoformat())


def test_there_is_none_where_there_is_no_cluster():
    assert None is Flat(ClusterView(), lambda cluster_id: ()).cluster("c")
