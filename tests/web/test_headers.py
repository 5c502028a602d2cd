"""The ids that requests get when they bring none."""

from uuid import RFC_4122, UUID

from serving.ids import new_id


def test_new_ids_are_random_uuids_of_version_4():
    ids = [UUID(new_id()) for _ in range(1000)]
    assert 1000 == len(set(ids))
    assert {(4, RFC_4122)} == {(id.version, id.variant) for id in ids}
    drawn = [id.int for id in ids]
    always, never = drawn[0], ~drawn[0]
    for each in drawn:
        always, never = always & each, never & ~each
    told = 0xF << 76 | 0b11 << 62  # the bits of version and variant; all others are drawn
    assert 0x4 << 76 | 0b10 << 62 == always
    assert told == (always | never) & (1 << 128) - 1


def test_new_ids_are_written_as_uuids_are():
    assert all(str(UUID(id)) == id for id in (new_id() for _ in range(1000)))
