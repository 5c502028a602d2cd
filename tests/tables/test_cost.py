"""What a question costs, in comparisons: what is due and what is shown, not what exists."""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tables.cluster import ClusterView, Filter
from tables.due import DueIndex
from tables.feed import Feed, Watched
from tests.tables.given import Record, document, value

START = datetime(2030, 1, 1, tzinfo=UTC)
EXISTING = 100_000


class Counted(datetime):
    """A moment that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__lt__(other)

    def __le__(self, other: datetime) -> bool:
        Counted.compared += 1
        return super().__le__(other)

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    __hash__ = datetime.__hash__


def at(seconds: float) -> Counted:
    moment = START + timedelta(seconds=seconds)
    return Counted(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, tzinfo=UTC
    )


@contextmanager
def counting() -> Iterator[list[int]]:
    Counted.compared, result = 0, [0]
    yield result
    result[0] = Counted.compared


def index_of(existing: int, due: int) -> DueIndex:
    index = DueIndex()
    for number in range(existing):
        index.set(0, b"%d" % number, at(0 if number < due else 7200))
    return index


def test_a_tick_with_nothing_due_looks_at_one_moment():
    index = index_of(EXISTING, due=0)
    with counting() as compared:
        assert [] == index.due(0, at(10))
    assert compared[0] <= 2


def test_a_tick_costs_what_is_due():
    few, many = index_of(EXISTING, due=10), index_of(EXISTING, due=1000)
    with counting() as for_few:
        assert 10 == len(few.due(0, at(10)))
    with counting() as for_many:
        assert 1000 == len(many.due(0, at(10)))
    per_key = 2 * 2 * (EXISTING.bit_length() + 1)  # down the heap and up again
    assert for_few[0] <= 10 * per_key
    assert for_many[0] <= 1000 * per_key


def test_a_key_that_moves_costs_its_way_up_the_heap():
    index = index_of(EXISTING, due=0)
    with counting() as compared:
        index.set(0, b"7", at(5))
    assert compared[0] <= 2 * EXISTING.bit_length()
    assert [b"7"] == [key for _, key in index.due(0, at(5))]


def test_the_heap_behind_it_is_python_s():
    """`Counted` counts only what compares moments by itself."""
    heap: list[tuple[datetime, bytes]] = []
    with counting() as compared:
        for number in range(100):
            heapq.heappush(heap, (at(number % 7), b"%d" % number))
    assert compared[0] > 100


# --- lists and watches ----------------------------------------------------------------------------------


class Looked(dict):
    """Rows by id that count how many of them are looked at by going through."""

    looked = 0

    def values(self):
        self.looked += len(self)
        return super().values()


class LookedThrough(list):
    """An order that counts how many of its rows are looked at, one by one, in slices or by going through."""

    looked = 0

    def __getitem__(self, at):
        found = super().__getitem__(at)
        self.looked += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self):
        self.looked += len(self)
        return super().__iter__()


def test_a_page_of_a_filter_used_before_looks_at_the_page_alone():
    view, wanted = ClusterView(), Filter(platform="aws")
    feed = Feed(view, topic="cluster-state")
    for number in range(EXISTING):
        shown = document(f"c{number}", platform="aws" if number % 2 else "gcp", minute=number)
        feed.apply(Record(b"c%d" % number, value(shown), offset=number))
    view.page(wanted, limit=1, offset=0)
    view._rows = rows = Looked(view._rows)
    view._orders[wanted] = order = LookedThrough(view._orders[wanted])
    listed, total = view.page(wanted, limit=50, offset=20_000)
    assert (50, EXISTING // 2, 50) == (len(listed), total, order.looked)

    feed.apply(Record(b"c0", value(document("c0", platform="aws", version=2), revision=2), offset=EXISTING))
    assert EXISTING // 2 + 1 == view.page(wanted, limit=1, offset=0)[1]
    search = EXISTING.bit_length()
    assert order.looked <= 51 + search, "a write keeps the order of the list without going through it"

    feed.watch(Watched(wanted)).take(about=10_000)
    assert order.looked <= 51 + 100 + 2 * search, "a watch lists as it goes"
    assert 0 == rows.looked
