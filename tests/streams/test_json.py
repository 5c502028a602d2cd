"""Times come in with any offset and leave in UTC, and durations read as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Rejected
from streams.json import from_millis, go_duration, rfc3339, utc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
        ("2024-02-29t12:00:00z", "2024-02-29T12:00:00Z"),
        ("2024-02-29T12:00:00+05:30", "2024-02-29T06:30:00Z"),
        ("2024-02-29T12:00:00-23:59", "2024-03-01T11:59:00Z"),
        ("2024-02-29T12:00:00.5Z", "2024-02-29T12:00:00.500000Z"),
        ("2024-02-29T12:00:00.123456Z", "2024-02-29T12:00:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_with_any_offset_leave_in_utc(text, expected):
    assert expected == rfc3339(utc(text, field="t"))


def test_nanoseconds_of_go_clients_are_read():
    assert utc("2024-01-01T00:00:00.123456789Z", field="t").replace(microsecond=0) == datetime(
        2024, 1, 1, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "2023-02-29T00:00:00Z"),
        *(
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:00+25:00",
            "0000-01-01T00:00:00Z",
        ),
        *(
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "24-01-01T00:00:00Z",
            "１２３",
            "2024-01-01T00:00:00Z\0",
        ),
    ],
)
def test_what_is_no_time_is_rejected(text):
    with pytest.raises(Rejected, match="t must be an RFC 3339 time"):
        utc(text, field="t")


@given(st.text())
def test_no_text_makes_reading_a_time_fail_otherwise(text):
    try:
        assert utc(text, field="t").tzinfo is UTC
    except Rejected:
        pass


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_any_time_comes_back(naive, minutes):
    time = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert time == utc(time.isoformat(), field="t")
    assert rfc3339(time).endswith("Z")


@given(st.integers(0, 253_402_300_799_999))
def test_kafka_s_milliseconds_are_exact(millis):
    assert millis == round(from_millis(millis).timestamp() * 1000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30, "30s"),
        (300, "5m"),
        (60, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (3661, "1h1m1s"),
        (0.5, "500ms"),
        (0, "0s"),
    ],
)
def test_durations_as_people_read_them(seconds, text):
    assert text == go_duration(timedelta(seconds=seconds))
