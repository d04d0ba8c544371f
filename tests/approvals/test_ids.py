"""Keys that keep the order in which they were made."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from approvals import ids


def test_keys_of_one_moment_sort_in_the_order_in_which_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "time_ns", lambda: 4_000_000_000_000_000_000)
    made = [ids.in_order() for _ in range(10_000)]  # more than the counter holds
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert [one.hex for one in made] == sorted(one.hex for one in made)  # as SQLite keeps them


def test_a_clock_that_goes_back_does_not_take_the_keys_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5_000_000_000_000_000_000, 4_000_000_000_000_000_000, 5_000_000_000_001_000_000])
    monkeypatch.setattr(ids, "_last", (0, 0))
    monkeypatch.setattr(ids, "time_ns", lambda: next(times))
    first, second, third = (ids.in_order() for _ in range(3))
    assert first < second < third


def test_it_is_what_the_rfc_calls_version_7(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9562, section 5.7, and its example's moment."""
    monkeypatch.setattr(ids, "_last", (0, 0))
    monkeypatch.setattr(ids, "time_ns", lambda: 0x017F22E279B0 * 1_000_000)
    one = ids.in_order()
    assert (one.version, one.variant) == (7, uuid.RFC_4122)
    assert one.hex.startswith("017f22e279b07000")


def test_threads_never_make_the_same_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ids.in_order(), range(4000)))
    assert len(set(made)) == 4000
