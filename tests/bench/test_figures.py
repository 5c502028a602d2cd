import pytest

from bench.figures import Answer, median_ratio, percentile, rates, spread, table


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        pytest.param([7.0], 0.99, 7.0, id="of one value every percentile is that value"),
        pytest.param([1.0, 2.0, 3.0, 4.0], 0.5, 3.0, id="half of four values lie below the third"),
        pytest.param(list(range(100)), 0.99, 99, id="99 of a hundred values lie below the last"),
        pytest.param(list(range(100)), 1.0, 99, id="the highest percentile is the last value"),
    ],
)
def test_percentile(given, when, then):
    assert then == percentile(given, when)


def test_a_spread_sorts_and_speaks_in_milliseconds():
    found = spread([0.003, 0.001, 0.002])

    assert (3, 2.0, 3.0, 3.0) == (found.count, found.p50, found.p99, found.max)


def test_one_disturbed_pair_does_not_move_the_median_of_ratios():
    ours, peers = [100.0, 10.0, 102.0, 98.0, 101.0], [200.0] * 5

    assert median_ratio(ours, peers) == 0.5


def test_pairs_that_do_not_match_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        median_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("given", "then"),
    [
        pytest.param({}, ("2,000/s", "4,000/s"), id="rates alone"),
        pytest.param({"peer": "echo"}, ("2,000/s", "echo 4,000/s"), id="a peer with a name"),
        pytest.param(
            {"cpu_micros": 51.4}, ("2,000/s, 51 µs of processor each", "4,000/s"), id="processor time"
        ),
    ],
)
def test_rates_are_shown_as_medians_and_judged_by_their_ratios(given, then):
    answer = rates("q", [2000.0, 1.0, 3000.0], [4000.0, 2.0, 9000.0], least=0.5, **given)

    assert then == (answer.ours, answer.peer)
    assert (0.5, True) == (answer.value, answer.kept)


@pytest.mark.parametrize(
    ("value", "least", "most", "kept"),
    [
        pytest.param(0.8, 0.8, None, True, id="what just reaches is kept"),
        pytest.param(0.79, 0.8, None, False, id="what is below is not"),
        pytest.param(1.5, None, 1.5, True, id="what just does not exceed is kept"),
        pytest.param(1.51, None, 1.5, False, id="what exceeds is not"),
    ],
)
def test_an_answer_is_judged_by_its_bounds(value, least, most, kept):
    answer = Answer("q", "1/s", "2/s", value, least=least, most=most)

    assert kept == answer.kept
    assert ("yes" if kept else "NO") == answer.row()[-1]


def test_an_answer_without_bounds_is_shown_and_not_judged():
    row = Answer("q", "1/s", "", 1234.5, unit="ms").row()

    assert ("1,234 ms", "", "") == row[-3:]


def test_a_table_is_aligned_markdown():
    lines = table(("a", "bb"), [("x", 1.0), ("long", "y")]).splitlines()

    assert ["| a    | bb   |", "|------|------|", "| x    | 1.00 |", "| long | y    |"] == lines
