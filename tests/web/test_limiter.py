"""What a process knows of buckets by itself (operations contract, section 3.4)."""

from prometheus_client import REGISTRY

from domain.rates import Rate
from web.limiter.levels import MOST, Levels, Place
from web.limiter.meters import MOST as MOST_NAMED
from web.limiter.meters import OTHERS, Meters

NEVER = 0.0


class Clock:
    """Seconds as a test has them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


PLACE = Place("jobs_create", "user:alice")


def test_what_is_noted_fills_up_with_time():
    clock = Clock()
    levels = Levels(clock)
    levels.note(PLACE, 1.0, Rate(3, 0.5))
    clock.now += 2
    assert 2.0 == levels.look(PLACE)


def test_it_goes_on_with_what_it_knew():
    clock = Clock()
    levels = Levels(clock)
    levels.note(PLACE, 1.0, Rate(3, NEVER))
    assert [True, False] == [levels.take(PLACE, Rate(3, NEVER)).allowed for _ in range(2)]


def test_what_it_does_not_know_is_full():
    levels = Levels(Clock())
    assert levels.look(PLACE) is None
    assert [True, True, False] == [levels.take(PLACE, Rate(2, NEVER)).allowed for _ in range(3)]


def test_it_remembers_so_many_and_those_asked_for_last():
    levels = Levels(Clock())
    places = [Place("jobs_create", f"user:{number}") for number in range(MOST + 2)]
    for place in places[:MOST]:
        levels.note(place, 0.0, Rate(1, NEVER))
    levels.note(places[0], 0.5, Rate(1, NEVER))
    for place in places[MOST:]:
        levels.note(place, 0.0, Rate(1, NEVER))
    assert [0.5, None, None, 0.0] == [levels.look(places[each]) for each in (0, 1, 2, MOST + 1)]


def test_a_full_one_is_shown_once_more_and_forgotten():
    clock = Clock()
    levels = Levels(clock)
    levels.note(PLACE, 0.0, Rate(2, 1))
    clock.now += 5
    assert [(PLACE, 2.0, Rate(2, 1))] == list(levels.known())
    assert [] == list(levels.known())


# --- what is measured ---------------------------------------------------------------------------------


def measured(name: str, place: Place, id: str | None = None) -> float | None:
    kind, _, own = place.scope.partition(":")
    labels = {"endpoint": place.name, "scope_type": kind, "scope_id": own if id is None else id}
    return REGISTRY.get_sample_value(name, labels)


EXCEEDED = "clustergenie_rate_limit_exceeded_total"
AVAILABLE = "clustergenie_rate_limit_available_tokens"


def test_as_many_scopes_are_named_as_may_and_others_together():
    meters = Meters()
    others = Place("measured", "user:")
    for number in range(MOST_NAMED + 3):
        meters.exceeded(Place("measured", f"user:{number}"))
    meters.exceeded(Place("measured", "user:0"))
    assert 2 == measured(EXCEEDED, Place("measured", "user:0"))
    assert 3 == measured(EXCEEDED, others, OTHERS)
    assert measured(EXCEEDED, Place("measured", f"user:{MOST_NAMED}")) is None


def test_a_bucket_that_is_full_is_shown_no_more_unless_it_is_everybodys():
    meters, rate = Meters(), Rate(3, 1)
    mine, all_ = Place("shown", "user:me"), Place("shown", "global")
    meters.show(mine, 1.0)
    meters.show(all_, 1.0)
    meters.show_all([(mine, 2.0, rate), (all_, 2.0, rate)])
    assert [2.0, 2.0] == [measured(AVAILABLE, each) for each in (mine, all_)]
    meters.show_all([(mine, 3.0, rate), (all_, 3.0, rate)])
    assert [None, 3.0] == [measured(AVAILABLE, each) for each in (mine, all_)]
