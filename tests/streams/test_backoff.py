"""Full jitter, lower bounds that are kept, and Retry-After in all its spellings."""

import random
from datetime import UTC, datetime
from statistics import fmean

import pytest

from streams.backoff import ASKED_CAP_S, CAP_S, Backoff, ConnectRate, retry_after_s

NOW = datetime(2026, 11, 3, 12, 0, 0, 500_000, tzinfo=UTC)


def test_a_thousand_delays_at_saturation_are_uniform() -> None:
    delays = Backoff(random.Random(1).random)
    for _ in range(7):
        delays.next_s()
    drawn = sorted(delays.next_s() for _ in range(1000))
    assert max(drawn) <= CAP_S
    assert abs(fmean(drawn) - CAP_S / 2) < 0.05 * CAP_S / 2
    distance = max(abs((n + 1) / 1000 - delay / CAP_S) for n, delay in enumerate(drawn))
    assert distance < 1.628 / 1000**0.5  # Kolmogorov-Smirnov, p = 0.01


def test_the_ceiling_doubles_until_the_cap_and_a_healthy_stream_starts_over() -> None:
    delays = Backoff(lambda: 1.0)
    assert [delays.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    delays.lived(29.9)
    assert delays.next_s() == 60
    delays.lived(30)
    assert delays.next_s() == 1


def test_what_the_provider_asks_for_is_a_lower_bound() -> None:
    delays = Backoff(lambda: 0.5)
    assert delays.next_s(asked_s=7.0) == 7.0
    assert delays.next_s(asked_s=0.0) == 1.0
    assert delays.next_s(asked_s=1e9) == ASKED_CAP_S


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1000000000", ASKED_CAP_S),
        ("9" * 400, ASKED_CAP_S),
        ("Tue, 03 Nov 2026 12:00:30 GMT", 30.0),  # 29.5 s away: never early
        ("Tue, 03 Nov 2026 11:00:00 GMT", 0.0),
        ("Wed, 04 Nov 2026 12:00:00 GMT", ASKED_CAP_S),
        ("Tue, 03 Nov 2026 12:00:30", 30.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, now=NOW) == wait_s


def test_a_provider_that_says_429_is_knocked_at_half_as_often_each_time() -> None:
    rate = ConnectRate()
    assert [rate.wait_s(0.0) for _ in range(3)] == [0, 0, 0]
    rate.heard(429, at=0.0)
    first = rate.interval_s
    assert [rate.wait_s(0.0) for _ in range(3)] == pytest.approx([first, 2 * first, 3 * first])
    rate.heard(429, at=1.0)
    assert rate.interval_s == 2 * first
    rate.heard(200, at=2.0)
    rate.heard(200, at=2.0)
    assert rate.interval_s == 0.0


def test_a_known_limit_spaces_turns_from_the_first_one() -> None:
    rate = ConnectRate()
    assert [rate.wait_s(0.0, least_s=0.1) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert rate.wait_s(10.0, least_s=0.1) == 0.0
