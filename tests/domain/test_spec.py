"""Contract section 1.2: names, known members, V1 to V5, and what a change of spec consists of."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.spec import accept_spec, changes, check_name, check_project_id
from domain.errors import Rejected
from domain.json import check_json
from domain.policy import Policy
from tests.domain.given import GCP


def refusal(call, *args, **kwargs):
    """What a check raises; None when it passes."""
    try:
        call(*args, **kwargs)
    except Rejected as error:
        return error
    return None


# --- V1: names ----------------------------------------------------------------------------------------

NAME_TEXT = "name must contain only lowercase letters, numbers, and hyphens"


@pytest.mark.parametrize("name", ["a", "0", "-", "a-b-c", "0123", "x" * 63])
def test_names_that_pass(name):
    assert refusal(check_name, name) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("", "cluster name is required", id="empty"),
        pytest.param("A", NAME_TEXT, id="upper case"),
        pytest.param("a_b", NAME_TEXT, id="underscore"),
        pytest.param("a.b", NAME_TEXT, id="dot"),
        pytest.param(" a", NAME_TEXT, id="blank before"),
        pytest.param("a\n", NAME_TEXT, id="newline after"),
        pytest.param("é", NAME_TEXT, id="a letter outside ASCII"),
        pytest.param("٣", NAME_TEXT, id="a digit outside ASCII"),
        pytest.param("a\0", NAME_TEXT, id="U+0000"),
        pytest.param("a/b", NAME_TEXT, id="slash"),
    ],
)
def test_names_that_do_not(name, text):
    error = refusal(check_name, name)
    assert ("VALIDATION_FAILED", text, "name") == (error.code, error.text, error.details["field"])


def test_a_name_has_at_most_63_characters():
    assert refusal(check_name, "x" * 64).code == "VALIDATION_FAILED"


def test_a_project_id_has_at_most_255_characters():
    assert refusal(check_project_id, "é" * 255) is None
    assert refusal(check_project_id, "é" * 256).code == "VALIDATION_FAILED"


# --- V2: platforms ------------------------------------------------------------------------------------


def platform(kind: object) -> dict[str, Any]:
    return {"platform": {"type": kind}}


@pytest.mark.parametrize("kind", ["gcp", "aws", "azure", "GCP", "Aws", "aZuRe"])
def test_a_known_platform_passes_in_any_case_and_is_kept_as_sent(kind):
    assert platform(kind) == accept_spec(platform(kind), Policy())


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="no platform"),
        pytest.param({"platform": {}}, id="no type"),
        pytest.param({"platform": None}, id="null platform"),
        pytest.param(platform(None), id="null type"),
        pytest.param(platform(""), id="empty type"),
        pytest.param(platform("vmware"), id="unknown type"),
        pytest.param(platform("gcp "), id="a blank after it"),
        pytest.param(platform("*"), id="the wildcard itself"),
    ],
)
def test_an_unknown_platform_is_an_invalid_spec(spec):
    error = refusal(accept_spec, spec, Policy())
    assert ("INVALID_SPEC", "Invalid cluster specification") == (error.code, error.text)
    assert {"aws", "azure", "gcp"} == set(error.details["allowed"])
    assert {"field", "value", "allowed"} <= error.details.keys()


def test_platforms_are_a_setting():
    only = Policy(platforms=frozenset({"metal"}))
    assert refusal(accept_spec, platform("METAL"), only) is None
    assert refusal(accept_spec, platform("gcp"), only).code == "INVALID_SPEC"
    anything = Policy(platforms=frozenset({"*"}))
    assert refusal(accept_spec, platform("Mainframe"), anything) is None
    assert refusal(accept_spec, platform(""), anything).code == "INVALID_SPEC"


def test_what_a_refusal_remembers_of_a_value_is_bounded():
    """It is stored with the cluster 64 times over; a record has to stay below what a topic takes."""
    for spec in (
        platform("x" * 500_000),
        {"platform": "x" * 500_000},
        {**platform("GCP"), "infraID": "x" * 500_000},
    ):
        error = refusal(accept_spec, spec, Policy())
        assert len(json.dumps(dict(error.details))) + len(error.text) < 4096


# --- updates: what was there before is never refused for itself ---------------------------------------

OLD = {
    "platform": {"type": "metal", "gcp": {"zone": 5}},
    "infraID": "an-id-of-18-chars-",
    "release": {"version": "", "channelGroup": "nightly"},
    "networking": {"clusterNetwork": [{"cidr": 1}, "x"], "podCIDR": ["a"]},
}


def test_a_value_that_an_update_leaves_as_it_was_is_not_refused():
    strict = Policy(require_release=True)
    assert {**OLD, "new": 1} == accept_spec({**OLD, "new": 1}, strict, before=OLD)
    gcp = {**platform("GCP"), "infraID": OLD["infraID"]}
    assert gcp == accept_spec(gcp, Policy(), before=gcp)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"platform": {"type": "wood"}}, "spec.platform.type"),
        ({"platform": {}}, "spec.platform.type"),
        ({"platform": {"type": "metal", "gcp": {"zone": 6}}}, "spec.platform.gcp.zone"),
        ({"platform": {"type": "GCP"}, "infraID": "another-id-of-18--"}, "spec.infraID"),
        ({"release": {"version": "", "channelGroup": "weekly"}}, "spec.release.channelGroup"),
        ({"networking": {"clusterNetwork": [{"cidr": 2}, "x"]}}, "spec.networking.clusterNetwork[0].cidr"),
        ({"networking": {"clusterNetwork": [{"cidr": 1}, "x", "x"]}}, "spec.networking.clusterNetwork[2]"),
        ({"networking": {"podCIDR": ["b"]}}, "spec.networking.podCIDR"),
        ({"release": {"version": ""}}, "spec.release.channelGroup"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_an_update_changes_is_held_to_the_rules(changed, field):
    with pytest.raises(Rejected) as refused:
        accept_spec({**OLD, **changed}, Policy(require_release=True), before=OLD)
    assert field == refused.value.details["field"]


# --- V3: infrastructure ids ---------------------------------------------------------------------------


@pytest.mark.parametrize("infra", ["an-id-of-18-chars-", "1", "A_B"])
@pytest.mark.parametrize("kind", ["gcp", "Gcp", "aws"])
def test_only_the_exact_name_of_gcp_holds_them_to_a_form(kind, infra):
    assert refusal(accept_spec, {**platform(kind), "infraID": infra}, Policy()) is None


@pytest.mark.parametrize("infra", [None, "", "a", "abc-123", "a23456789012345"])
@pytest.mark.parametrize("kind", ["gcp", "GCP"])
def test_infra_ids_that_gcp_takes(kind, infra):
    assert refusal(accept_spec, {**platform(kind), "infraID": infra}, Policy()) is None


@pytest.mark.parametrize(
    ("infra", "text"),
    [
        (
            "a234567890123456",
            "infrastructure ID 'a234567890123456' is invalid: must be 15 characters or less (got 16)",
        ),
        ("1abc", "infrastructure ID '1abc' is invalid: must start with a lowercase letter and contain only"),
        ("aBc", "infrastructure ID 'aBc' is invalid: must start with a lowercase letter and contain only"),
        ("a_b", "infrastructure ID 'a_b' is invalid: must start with a lowercase letter and contain only"),
        ("a\n", "infrastructure ID 'a\n' is invalid: must start with a lowercase letter and contain only"),
    ],
    ids=["too long", "a digit first", "upper case", "underscore", "newline"],
)
def test_infra_ids_that_gcp_refuses(infra, text):
    error = refusal(accept_spec, {**platform("GCP"), "infraID": infra}, Policy())
    assert error.code == "VALIDATION_FAILED"
    assert error.text.startswith(text)
    assert error.details["field"] == "spec.infraID"


def test_other_platforms_take_any_infra_id():
    assert (
        refusal(accept_spec, {**platform("aws"), "infraID": "Whatever It Is, However Long"}, Policy()) is None
    )


# --- V4, V5: release ----------------------------------------------------------------------------------

DEFAULTS = Policy(default_version="4.20.1", default_channel_group="stable", require_release=True)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        pytest.param(None, {"version": "4.20.1", "channelGroup": "stable"}, id="absent: both filled"),
        pytest.param(
            {"image": "i"},
            {"image": "i", "version": "4.20.1", "channelGroup": "stable"},
            id="the rest is kept",
        ),
        pytest.param(
            {"version": "1", "channelGroup": ""}, {"version": "1", "channelGroup": "stable"}, id="one filled"
        ),
        pytest.param(
            {"version": "1", "channelGroup": "eus"}, {"version": "1", "channelGroup": "eus"}, id="none filled"
        ),
    ],
)
def test_defaults_fill_what_is_empty(release, expected):
    spec = GCP if release is None else {**GCP, "release": release}
    assert {**GCP, "release": expected} == accept_spec(spec, DEFAULTS)


@pytest.mark.parametrize("release", [{}, {"version": ""}, {"version": "any thing"}, {"image": "i"}])
def test_without_requirement_a_release_may_be_empty_and_comes_back_as_sent(release):
    assert {**GCP, "release": release} == accept_spec({**GCP, "release": release}, Policy())


@pytest.mark.parametrize("release", [{"version": None}, {"channelGroup": None}, None])
def test_nulls_of_a_release_come_back_as_sent(release):
    assert {**GCP, "release": release} == accept_spec({**GCP, "release": release}, Policy())


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ({"channelGroup": "stable"}, "release.version is required"),
        ({"version": "4.20.1"}, "release.channelGroup is required"),
        ({}, "release.version is required"),
    ],
)
def test_a_required_release_is_asked_for(release, text):
    error = refusal(accept_spec, {**GCP, "release": release}, Policy(require_release=True))
    assert ("VALIDATION_FAILED", text) == (error.code, error.text)


@pytest.mark.parametrize("channel", ["stable", "fast", "candidate", "eus"])
def test_known_channel_groups(channel):
    assert refusal(accept_spec, {**GCP, "release": {"channelGroup": channel}}, Policy()) is None


@pytest.mark.parametrize("channel", ["nightly", "Stable", "stable "])
def test_unknown_channel_groups(channel):
    error = refusal(accept_spec, {**GCP, "release": {"channelGroup": channel}}, Policy())
    assert f"invalid channelGroup '{channel}': must be one of stable, fast, candidate, eus" == error.text


def test_a_default_that_is_no_channel_group_is_refused_like_any():
    assert refusal(accept_spec, GCP, Policy(default_channel_group="nightly")).code == "VALIDATION_FAILED"


# --- known members ------------------------------------------------------------------------------------

GCP_IDENTITY = "platform.gcp.workloadIdentity"
ACCOUNTS = f"{GCP_IDENTITY}.serviceAccountsRef"
STRINGS = [
    "infraID",
    "issuerURL",
    "platform.type",
    *(f"platform.gcp.{m}" for m in ("projectID", "region", "zone", "network", "subnet")),
    *(f"{GCP_IDENTITY}.{m}" for m in ("projectNumber", "poolID", "providerID")),
    *(f"{ACCOUNTS}.{m}Email" for m in ("nodePool", "controlPlane", "cloudController")),
    *(f"{ACCOUNTS}.{m}Email" for m in ("storage", "imageRegistry", "network")),
    *(f"platform.aws.{m}" for m in ("region", "vpcId", "accountID")),
    *(f"platform.azure.{m}" for m in ("region", "resourceGroup", "vnetName", "subnetName")),
    "platform.azure.subscriptionID",
    *(f"release.{m}" for m in ("image", "version", "channelGroup")),
    *(f"networking.{m}" for m in ("podCIDR", "serviceCIDR")),
    *(f"dns.{m}" for m in ("baseDomain", "publicZone", "privateZone")),
    "networking.clusterNetwork.0.cidr",
    "networking.serviceNetwork.0",
]
OBJECTS = [
    *("platform", "platform.gcp", "platform.aws", "platform.azure", GCP_IDENTITY, ACCOUNTS),
    *("release", "networking", "dns", "networking.clusterNetwork.0"),
]
ARRAYS = [
    *("platform.aws.availabilityZones", "platform.aws.subnetIds"),
    *("networking.clusterNetwork", "networking.serviceNetwork"),
]
INTEGERS = ["networking.clusterNetwork.0.hostPrefix"]


def with_member(path: str, value: object) -> dict[str, Any]:
    """A valid spec with the member at a dotted path set; `0` is the one element of an array."""
    member: Any = value
    for name in reversed(path.split(".")):
        member = [member] if name == "0" else {name: member}
    if path != "platform" and "platform" in member:
        member["platform"].setdefault("type", "gcp")
    return {**GCP, **member}


VALUES = {"a string": "eus", "a number": 5, "true": True, "an array": [], "an object": {}, "a float": 1.5}
KINDS = {"string": STRINGS, "object": OBJECTS, "array": ARRAYS, "integer": INTEGERS}
FITS = {"string": {"a string"}, "object": {"an object"}, "array": {"an array"}, "integer": {"a number"}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path} is {article} {kind}, not {name}".replace("a array", "an array"))
        for kind, paths in KINDS.items()
        for article in ("an" if kind[0] in "aio" else "a",)
        for path in paths
        for name, value in VALUES.items()
        if name not in FITS[kind]
    ],
)
def test_a_known_member_of_a_wrong_type_is_refused(path, value):
    error = refusal(accept_spec, with_member(path, value), Policy())
    assert error is not None
    assert error.code == "VALIDATION_FAILED"
    assert error.details["field"].startswith("spec.")


@pytest.mark.parametrize("path", [path for paths in KINDS.values() for path in paths if path != "platform"])
def test_a_known_member_of_its_type_is_kept(path):
    kind = next(kind for kind, paths in KINDS.items() if path in paths)
    value = {"string": "eus", "object": {"x": 1}, "array": [], "integer": 5}[kind]
    spec = with_member(path, "gcp" if path == "platform.type" else value)
    assert spec == accept_spec(spec, Policy())


def test_unknown_members_are_kept_as_sent():
    spec = {**GCP, "unknown": {"deep": [1, None, {"x": 1.5}]}, "platform": {"type": "gcp", "zones": ["a"]}}
    assert spec == accept_spec(spec, Policy())


@pytest.mark.parametrize("value", [5, {}, True, ["c2VjcmV0"]])
def test_a_signing_key_of_a_wrong_type_is_refused_without_showing_it(value):
    error = refusal(accept_spec, {**GCP, "serviceAccountSigningKey": value}, Policy())
    assert ("VALIDATION_FAILED", "spec.serviceAccountSigningKey") == (error.code, error.details["field"])
    assert "value" not in error.details


# --- changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, {}, id="nothing changed"),
        pytest.param({"a": 1}, {"a": 2}, {"spec.a": (1, 2)}, id="a leaf"),
        pytest.param(
            {"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 1}}, {"spec.a.b": (1, 2)}, id="a leaf further down"
        ),
        pytest.param({}, {"a": 1}, {"spec.a": (None, 1)}, id="added"),
        pytest.param({"a": 1}, {}, {"spec.a": (1, None)}, id="removed"),
        pytest.param({"a": [1, 2]}, {"a": [1, 3]}, {"spec.a": ([1, 2], [1, 3])}, id="an array as a whole"),
        pytest.param({"a": 1}, {"a": True}, {"spec.a": (1, True)}, id="1 and true are different"),
        pytest.param({"a": [1]}, {"a": [True]}, {"spec.a": ([1], [True])}, id="1 and true in an array too"),
        pytest.param(
            {"a": [{"b": 0}]},
            {"a": [{"b": False}]},
            {"spec.a": ([{"b": 0}], [{"b": False}])},
            id="and deeper",
        ),
        pytest.param(
            {}, {"a": {"b": 1, "c": 2}}, {"spec.a.b": (None, 1), "spec.a.c": (None, 2)}, id="an added object"
        ),
        pytest.param({"a": {"b": 1}}, {}, {"spec.a.b": (1, None)}, id="a removed object"),
        pytest.param(
            {"a": {"b": 1}},
            {"a": 5},
            {"spec.a.b": (1, None), "spec.a": (None, 5)},
            id="an object becomes a leaf",
        ),
    ],
)
def test_changes_are_told_by_leaf(before, now, expected):
    assert {path: {"from": old, "to": new} for path, (old, new) in expected.items()} == changes(before, now)


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "x", "y"])
    | st.sampled_from([0.5, 1.0])
)
_members = st.sampled_from(["a", "b", "c"])
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_members, inner, max_size=3)
)
_objects = st.dictionaries(_members, _json, max_size=3)


def leaves(value: Any, path: str = "spec") -> dict[str, str]:
    """Leaf path → its JSON; an empty object is no leaf and null is as good as absent."""
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name, member in value.items():
            found |= leaves(member, f"{path}.{name}")
        return found
    return {} if value is None else {path: json.dumps(value, sort_keys=True)}


@given(_objects, _objects)
def test_changes_agree_with_a_naive_difference_of_leaves(before, now):
    old, new = leaves(before), leaves(now)
    naive = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    told = {
        path
        for path, change in changes(before, now).items()
        if not (_empty(change["from"]) and _empty(change["to"]))
    }
    assert naive == told


def _empty(value: Any) -> bool:
    """Null, absent, and objects without a leaf are one thing here."""
    return not leaves(value) if isinstance(value, dict) else value is None


def flattened(path: str, value: Any) -> dict[str, Any]:
    """Dotted path → leaf, whatever is no object."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        p: leaf for name, member in value.items() for p, leaf in flattened(f"{path}.{name}", member).items()
    }


@given(_objects, _objects)
def test_changes_are_those_between_flattened_specs(before, now):
    old, new = flattened("spec", before), flattened("spec", now)
    assert changes(before, now) == {
        path: {"from": old.get(path), "to": new.get(path)}
        for path in {**old, **new}
        if json.dumps(old.get(path), sort_keys=True) != json.dumps(new.get(path), sort_keys=True)
    }


@given(_objects, _objects)
def test_changes_turned_around_are_the_way_back(before, now):
    there, back = changes(before, now), changes(now, before)
    assert {path: (c["from"], c["to"]) for path, c in there.items()} == {
        path: (c["to"], c["from"]) for path, c in back.items()
    }


@given(_objects)
def test_a_spec_does_not_differ_from_itself(spec):
    assert {} == changes(spec, json.loads(json.dumps(spec)))


# --- check_json ---------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        pytest.param({"a": ["b"]}, True, id="plain"),
        pytest.param({"a": "x\0"}, False, id="NUL in a value"),
        pytest.param({"x\0": 1}, False, id="NUL in a member's name"),
        pytest.param({"a": [[{"b": ["\0"]}]]}, False, id="NUL deep inside"),
        pytest.param({"a": "\\u0000"}, True, id="the escape as text"),
        pytest.param(nested(64), True, id="64 levels"),
        pytest.param(nested(65), False, id="65 levels"),
        pytest.param(nested(50_000), False, id="bottomless"),
    ],
)
def test_check_json(value, passes):
    assert passes == (refusal(check_json, value, field="body") is None)


@given(_json)
def test_ordinary_json_passes(value):
    assert refusal(check_json, value, field="body") is None
