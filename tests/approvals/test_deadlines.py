"""Deadlines as providers write them, and undo windows that end before them."""

from datetime import UTC, datetime, timedelta

import pytest

from approvals import deadlines

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        "2026-12-01T12:00:00Z",
        " 2026-12-01T12:00:00+00:00 ",
        "2026-12-01T12:00:00",
        "2026-12-01 12:00",
        "20261201T120000Z",
        "2026-12-01T13:00:00+01:00",
        "1796126400",
        "1796126400000",
        "Tue, 01 Dec 2026 12:00:00 GMT",
    ],
)
def test_a_deadline_is_read_leniently_and_without_zone_as_utc(said: str) -> None:
    assert deadlines.parse(said) == AT


@pytest.mark.parametrize(
    "said", ["", "soon", "tomorrow at 9", "2026-13-45", "\x00", "9" * 400, "٣" * 12, "1e400", "-1"]
)
def test_what_is_no_deadline_never_expires(said: str) -> None:
    assert deadlines.parse(said) is None


def test_a_date_alone_and_the_far_ends_of_time_are_survived() -> None:
    assert deadlines.parse("20261201") == datetime(2026, 12, 1, tzinfo=UTC)
    assert deadlines.parse("9999-12-31T23:59:59-14:00") in (None, deadlines.LATEST)
    assert deadlines.parse("0001-01-01T00:00:00+14:00") is None


def test_an_undo_window_never_crosses_the_deadline() -> None:
    assert deadlines.leaves_at(AT, undo_s=60, deadline=None) == AT + timedelta(seconds=60)
    assert deadlines.leaves_at(AT, undo_s=60, deadline=AT + timedelta(hours=1)) == AT + timedelta(seconds=60)
    assert deadlines.leaves_at(AT, undo_s=60, deadline=AT + timedelta(seconds=30)) == AT + timedelta(seconds=25)
    assert deadlines.leaves_at(AT, undo_s=60, deadline=AT + timedelta(seconds=4)) == AT
