"""Contract section 2.1: identities, privilege, visibility."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import is_privileged, may_see, require_controller, valid_email
from domain.cluster.decide import visible
from domain.errors import Rejected
from domain.policy import Policy
from tests.domain.given import CONTROLLER, OWNER, POLICY, STRANGER, T0, create, delete, story

LONG = "a" * 242 + "@example.com"


@pytest.mark.parametrize(
    "address",
    [
        "a@b.c",
        "owner@example.com",
        "controller@system.local",
        "a+b/c'd@x-y.example.co.uk",
        "ü@bücher.example",
        LONG,
    ],
)
def test_valid_addresses(address):
    assert valid_email(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="empty"),
        pytest.param("a", id="no @"),
        pytest.param("@b.c", id="nothing before the @"),
        pytest.param("a@", id="nothing after the @"),
        pytest.param("a@b", id="no dot in the domain"),
        pytest.param("a.b@c", id="a dot on the left only"),
        pytest.param("a@b@c.d", id="two @"),
        pytest.param("a@.", id="a dot only"),
        pytest.param("a@.b.c", id="domain starts with a dot"),
        pytest.param("a@b.c.", id="domain ends with a dot"),
        pytest.param("a@b.", id="domain ends with its only dot"),
        pytest.param("a b@c.d", id="blank inside"),
        pytest.param(" a@c.d", id="blank before"),
        pytest.param("a@c.d ", id="blank after"),
        pytest.param("a@c.d\n", id="newline after"),
        pytest.param("a\t@c.d", id="tab"),
        pytest.param("a\0@c.d", id="NUL"),
        pytest.param("a\x7f@c.d", id="DEL"),
        pytest.param("a\x85@c.d", id="NEL, a control character above ASCII"),
        pytest.param("a\x9b@c.d", id="CSI, a control character above ASCII"),
        pytest.param("a\u00a0@c.d", id="no-break space"),
        pytest.param("a\u2003@c.d", id="em space"),
        pytest.param("a\udcff@c.d", id="a byte that is no text"),
        pytest.param("a" + LONG, id="255 characters"),
    ],
)
def test_malformed_addresses(address):
    assert not valid_email(address)


@given(st.text())
def test_whatever_is_valid_keeps_the_rules(address):
    if valid_email(address):
        local, _, domain = address.partition("@")
        assert local
        assert "." in domain
        assert "@" not in domain
        assert domain.strip(".") == domain
        assert len(address) <= 254
        assert not any(c.isspace() for c in address)
        assert address.encode()


@pytest.mark.parametrize(
    ("address", "privileged"),
    [
        ("controller@system.local", True),
        ("anyone@system.local", True),
        ("controller@system.local.example.com", False),
        ("controller@sub.system.local", False),
        ("controller@notsystem.local", False),
        ("controller@SYSTEM.LOCAL", False),
        ("system.local@example.com", False),
    ],
)
def test_privilege_is_the_whole_domain(address, privileged):
    assert privileged == is_privileged(address, POLICY)


def test_the_privileged_domain_is_a_setting():
    policy = Policy(privileged_domain="ops.example.com")
    assert is_privileged("a@ops.example.com", policy)
    assert not is_privileged("a@system.local", policy)


LIVE, GONE = story((create(), T0)), story((create(), T0), (delete(), T0))


@pytest.mark.parametrize(
    ("record", "by", "seen"),
    [
        (LIVE, OWNER, True),
        (LIVE, CONTROLLER, True),
        (LIVE, STRANGER, False),
        (LIVE, OWNER.upper(), False),
        (GONE, OWNER, False),
        (GONE, CONTROLLER, False),
        (None, CONTROLLER, False),
    ],
)
def test_visibility(record, by, seen):
    assert seen == (record is not None and not record.deleted_at and may_see(by, OWNER, POLICY))
    if seen:
        assert visible(record, by, POLICY) is record
        return
    with pytest.raises(Rejected, match="Cluster not found") as refused:
        visible(record, by, POLICY)
    assert refused.value.code == "RESOURCE_NOT_FOUND"


def test_only_controllers_report():
    require_controller(CONTROLLER, POLICY)
    with pytest.raises(Rejected, match="Only system controllers can report status") as refused:
        require_controller(OWNER, POLICY)
    assert refused.value.code == "FORBIDDEN"


def test_what_is_too_long_for_an_address_is_not_kept():
    # given callers that never repeat an identity
    tracemalloc.start()
    try:
        # when 300 of 10 KB are looked at
        for number in range(300):
            assert not valid_email(f"{number}@" + "x" * 10_000)

        # then they are not in memory any more
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()
