import json

import pytest

from bench import baseline


@pytest.mark.parametrize(
    ("ratio", "least", "kept"),
    [
        pytest.param(0.26, 0.5, True, id="CI lets pass what is above half of the baseline"),
        pytest.param(0.24, 0.5, False, id="CI fails below half of it"),
        pytest.param(0.39, 0.8, False, id="people want four fifths of it"),
        pytest.param(0.90, 0.8, True, id="what has become faster is kept"),
    ],
)
def test_a_ratio_is_judged_by_its_part_of_the_baseline(ratio, least, kept):
    [verdict] = baseline.judged({"reads": ratio}, {"reads": 0.5}, least=least)

    assert kept == verdict.kept


def test_a_question_without_a_baseline_is_new_and_fails_nothing():
    [verdict] = baseline.judged({"new": 0.1}, {}, least=0.8)

    assert verdict.kept
    assert "new" == verdict.row()[-1]


def test_a_question_of_the_baseline_that_was_not_asked_is_an_error():
    with pytest.raises(ValueError, match="writes"):
        baseline.judged({"reads": 1.0}, {"reads": 1.0, "writes": 1.0}, least=0.5)


def test_each_question_gets_the_median_of_its_pairs():
    assert {"a": 0.5, "b": 2.0} == baseline.medians({"a": [0.1, 0.5, 9.0], "b": [2.0]})


def test_what_is_written_down_is_read_again(tmp_path):
    path = tmp_path / "baseline.json"

    baseline.write({"reads": 0.123456}, {"cores": 2}, path)

    assert {"reads": 0.1235} == baseline.read(path)
    assert {"cores": 2} == json.loads(path.read_text())["taken_on"]


def test_without_a_file_there_is_no_baseline(tmp_path):
    assert {} == baseline.read(tmp_path / "none.json")


def test_the_baseline_of_this_repository_has_ratios_above_zero():
    ratios = baseline.read()

    assert ratios
    assert all(ratio > 0 for ratio in ratios.values())
