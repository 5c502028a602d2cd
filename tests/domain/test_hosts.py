"""Which values of `Host` are ours, by what is listened on and what is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Rejected
from domain.hosts import Hosts

OURS = ["localhost", "LocalHost:8080", "localhost.", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"]
OURS += ["[0:0:0:0:0:0:0:1]:80", "localhost:"]
OTHERS = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
OTHERS += [
    "localhost..",
    "x.localhost",
    "127.0.0.2",
    "127.1",
    "2130706433",
    "0.0.0.0",
    "[::]",
    "10.0.0.5",
    "[fd00::5]",
]
MALFORMED = [
    "",
    " ",
    "localhost, evil.example",
    "localhost evil",
    "localhost:80:80",
    "localhost:x",
    "a@localhost",
]
MALFORMED += [
    "http://localhost",
    "localhost/",
    "::1",
    "[::1",
    "[localhost]",
    "löcalhost",
    "localhost\udcff",
    "[::1]x",
]
MALFORMED += ["x" * 10_000, "localhost:" + "1" * 400]


def refused(hosts: Hosts, value: str) -> str | None:
    """The code under which it is refused; None where it is not."""
    try:
        hosts.require(value)
    except Rejected as refusal:
        assert "Host" == refusal.details["field"]
        assert value not in refusal.text or len(value) < 10
        return refusal.code
    return None


@pytest.mark.parametrize("bound", ["127.0.0.1", "::1", "localhost", "10.0.0.7", "0.0.0.0", "::"])
def test_loopback_is_ours_wherever_we_listen(bound):
    assert [] == [value for value in OURS if refused(Hosts(bound), value)]


@pytest.mark.parametrize("value", OTHERS)
def test_what_is_not_ours_is_misdirected(value):
    assert "MISDIRECTED_REQUEST" == refused(Hosts("127.0.0.1"), value)


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("value", MALFORMED, ids=lambda value: value[:20])
def test_what_is_neither_name_nor_address_is_malformed(bound, value):
    assert "VALIDATION_FAILED" == refused(Hosts(bound), value)


def test_a_refusal_says_what_to_do():
    with pytest.raises(Rejected, match="ALLOWED_HOSTS"):
        Hosts("127.0.0.1").require("evil.example")


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("10.0.0.7", "10.0.0.7:8080"),
        ("fd00:0::7", "[FD00::7]"),
        ("node7", "Node7:80"),
        ("127.0.0.2", "127.0.0.2"),
    ],
)
def test_the_bound_address_is_ours_and_its_neighbours_are_not(bound, value):
    hosts = Hosts(bound)
    assert refused(hosts, value) is None
    assert "MISDIRECTED_REQUEST" == refused(hosts, "10.0.0.8")


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "[::]"])
def test_bound_to_all_addresses_every_address_is_ours_and_no_name(bound):
    """Probes of Kubernetes come by the pod's address, those through a port mapping by a node's."""
    hosts = Hosts(bound)
    for value in ("10.1.2.3", "10.1.2.3:8080", "[fd00::5]:8081", "0.0.0.0:8080", "[::ffff:10.0.0.1]"):
        assert refused(hosts, value) is None, value
    for value in ("evil.example", "web:8080", "10.1.2", "10.1.2.3.example", "010.1.2.3", "0x7f.1"):
        assert "MISDIRECTED_REQUEST" == refused(hosts, value), value


def test_named_hosts_are_ours_beside_loopback():
    hosts = Hosts("0.0.0.0", ["API.example.com", "web", "[FD00::9]"])
    for value in ("api.example.com", "Api.Example.Com.:443", "web:8080", "[fd00::9]", "localhost"):
        assert refused(hosts, value) is None, value
    for value in ("example.com", "x.api.example.com", "web.evil.example"):
        assert "MISDIRECTED_REQUEST" == refused(hosts, value), value


def test_who_sends_no_host_is_no_browser():
    hosts = Hosts("127.0.0.1")
    hosts.require(None)
    assert not hosts.admits(None), "and takes the ordinary way"


@given(st.text(max_size=40))
def test_what_is_admitted_is_not_refused_and_the_other_way_round(value):
    for hosts in (Hosts("127.0.0.1"), Hosts("0.0.0.0", ["a.example"])):
        assert hosts.admits(value) == (refused(hosts, value) is None)
