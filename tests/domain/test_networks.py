"""Which addresses a network has, and in which order its blocks are asked."""

import pytest

from domain.networks import MOST_ASKED, blocks_of


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"]),
        pytest.param("10.0.0.8/31", ["10.0.0.8", "10.0.0.9"], id="two hosts and nothing else"),
        pytest.param("10.0.0.9/32", ["10.0.0.9"], id="one host"),
        ("fd00::/126", ["fd00::1", "fd00::2"]),
    ],
)
def test_the_ends_of_a_network_are_left_out_unless_there_is_nothing_else(network, expected):
    blocks = blocks_of(network)
    assert expected == list(blocks.addresses(blocks.first_for("anybody")))


def test_a_block_of_a_large_network_leaves_its_ends_out_too():
    addresses = list(blocks_of("10.0.0.0/16").addresses("10.0.7.0"))
    assert ("10.0.7.1", "10.0.7.254", 254) == (addresses[0], addresses[-1], len(addresses))


def test_asking_one_block_after_another_passes_all_and_comes_back():
    blocks = blocks_of("10.0.0.0/22")
    asked = [blocks.first_for("droplet")]
    for _ in range(blocks.asked - 1):
        asked.append(blocks.after(asked[-1]))
    assert {"10.0.0.0", "10.0.1.0", "10.0.2.0", "10.0.3.0"} == set(asked)
    assert asked[0] == blocks.after(asked[-1])


def test_holders_are_spread_over_the_blocks():
    blocks = blocks_of("10.0.0.0/20")
    assert 16 == blocks.count == len({blocks.first_for(f"droplet-{number}") for number in range(500)})


def test_no_more_than_a_bounded_number_of_blocks_is_asked():
    assert (65_536, MOST_ASKED) == (blocks_of("10.0.0.0/8").count, blocks_of("10.0.0.0/8").asked)
