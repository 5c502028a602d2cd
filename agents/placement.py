"""Whether a record lies in the partition its key belongs to.

A table write follows the partition of the record being handled, so a misplaced record (a client with another
partitioner) would split a key's state over two writers. Such a record is published again, to its place.
"""

from typing import Any

from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from streams.headers import headers_of
from streams.kafka.partitions import MAX_KEY_BYTES, partition_of
from streams.writing.outputs import Output
from tables.typed import TypedTable


class Placement:
    """Finds misplaced records; a key whose state is here is in its place, which saves the hash."""

    def __init__(self, partitions: int, table: TypedTable[Any]) -> None:
        self._partitions = partitions
        self._table = table

    def correction(self, record: ConsumerRecord) -> Output | None:
        """The same record for its right partition, None if it lies there already.

        Raises: MalformedRecord: `bad_key`, there is no key, or one that is too long for any.
        """
        if not record.key:
            raise MalformedRecord("bad_key", "a record without a key")
        if len(record.key) > MAX_KEY_BYTES:
            raise MalformedRecord("bad_key", f"a key of more than {MAX_KEY_BYTES} bytes")
        if self._table.holds(record.partition, record.key):
            return None
        place = partition_of(record.key, self._partitions)
        if place == record.partition:
            return None
        return Output(record.topic, record.key, record.value, headers_of(record), partition=place)
