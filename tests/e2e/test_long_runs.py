"""Short forms of the long runs: a start on a long past, and a soak. The long ones are commands of their own."""

from pathlib import Path

import pytest

from tests.cold_start import cold_start
from tests.plugins.figures import Figure
from tests.soak import slope_per_hour, soak

pytestmark = pytest.mark.process


@pytest.mark.long
def test_a_server_starts_on_a_long_past_and_shows_all_of_it(tmp_path: Path, figure: Figure) -> None:
    found = cold_start(tmp_path, events=10_000, pending=1_000)
    figure("J2", worst=found["page_p95_ms"], n=40, unit=f"ms a page (p95); ready after {found['ready_s']} s")


@pytest.mark.long
def test_a_short_soak_breaks_no_rule(tmp_path: Path, figure: Figure) -> None:
    found = soak(tmp_path, minutes=0.5, sockets=20, streams=6, decisions_a_minute=20, seed=5)
    assert found["broken"] == []
    assert found["decisions"] > 0
    assert found["badge_drift"] == 0
    figure("J1", worst=len(found["broken"]), n=found["decisions"], unit="broken rules", seed=5)
    figure("I9", worst=found["badge_drift"], n=found["frames"], unit="off by, after a soak", seed=5)


def test_the_slope_is_that_of_the_line() -> None:
    assert slope_per_hour([0.0, 60.0, 120.0], [10.0, 11.0, 12.0]) == pytest.approx(60.0)
    assert slope_per_hour([1.0], [1.0]) == 0.0
