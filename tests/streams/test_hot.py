"""What a codec remembers is what the bytes say, and not more of it than was allowed."""

import json

import pytest

from streams.hot import HotCodec


class Counted(HotCodec[object]):
    """A codec that notes what it could not remember."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(self.read, lambda value: json.dumps(value).encode(), max_bytes=max_bytes)
        self.decoded: list[bytes] = []

    def read(self, data: bytes) -> object:
        self.decoded.append(data)
        return json.loads(data)


@pytest.fixture
def codec() -> Counted:
    return Counted(max_bytes=12)  # four values of three bytes


def test_what_was_encoded_or_decoded_is_at_hand(codec):
    assert b"100" == codec.encode(100)
    assert [100, 200, 200] == [codec.decode(data) for data in (b"100", b"200", b"200")]
    assert [b"200"] == codec.decoded


def test_other_bytes_are_another_value(codec):
    codec.encode(100)
    assert 101 == codec.decode(b"101")


def test_equal_bytes_from_elsewhere_are_the_same_value(codec):
    codec.encode(100)
    assert 100 == codec.decode(bytes(bytearray(b"100")))
    assert [] == codec.decoded


def test_the_longest_unused_is_forgotten_first(codec):
    for value in (100, 101, 102, 103):
        codec.encode(value)
    codec.decode(b"100")
    codec.encode(104)
    for data in (b"100", b"102", b"103", b"104"):
        codec.decode(data)
    assert [] == codec.decoded
    codec.decode(b"101")
    assert [b"101"] == codec.decoded


def test_what_is_larger_than_all_room_is_not_kept(codec):
    codec.encode("more than twelve bytes")
    codec.decode(b'"more than twelve bytes"')
    assert [b'"more than twelve bytes"'] == codec.decoded


def test_the_same_bytes_take_their_room_once(codec):
    for _ in range(10):
        codec.encode(100)
    for value in (101, 102, 103):
        codec.encode(value)
    codec.decode(b"100")
    assert [] == codec.decoded
