"""Row B17: a process that is told to stop stores what it read, gives its leases back and ends; another goes on."""

import time
from pathlib import Path

import pytest

from tests.countersign import eventually
from tests.e2e.ticker import ticker
from tests.e2e.workers import migrated, workers
from tests.plugins.figures import Figure

pytestmark = [
    pytest.mark.process,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.long,
]

STOPS = 50
RUNS = 8


def test_b17_a_holder_that_is_stopped_leaves_nothing_behind(tmp_path: Path, figure: Figure) -> None:
    exits: list[float] = []
    takeovers: list[float] = []
    kept = 0  # leases that were not given back
    with (
        ticker(0.05) as agents,
        migrated(tmp_path) as tables,
        workers(tmp_path, agents.url, template=tables) as on,
    ):
        on.watch("ticker", RUNS)
        for name in ("worker-0", "worker-1"):
            on.start(name)

        def held_by_both() -> bool:
            counts = [len(on.held()[name]) for name in on.running]
            return sum(counts) == RUNS and min(counts) > 0 and len({one.run for one in agents.open()}) == RUNS

        for number in range(STOPS):
            eventually(held_by_both, within_s=120, why="both have streams")
            name = f"worker-{number}"
            mine, since = on.held()[name], on.now()
            began = time.monotonic()
            assert on.running[name].stop() == 0
            exits.append(time.monotonic() - began)
            on.end(name)
            eventually(lambda: len(agents.open()) == RUNS and sum(map(len, on.held().values())) == RUNS)
            given = on.rows("SELECT DISTINCT run_id FROM held WHERE at > %s AND owner = ''", since)
            kept += len(set(mine) - {str(run_id) for (run_id,) in given})
            stopped_at = on.rows("SELECT max(at) FROM held WHERE at > %s AND owner = ''", since)[0][0]
            taken = on.rows("SELECT EXTRACT(epoch FROM max(at) - %s) FROM held WHERE at > %s AND owner <> ''",
                            stopped_at, since)  # fmt: skip
            takeovers.append(float(taken[0][0]))
            on.start(f"worker-{number + 2}")
        agents.finish()
        eventually(lambda: on.ended() == RUNS, why="every run has ended")
        lost, other = on.wrong_events(agents.told())
        assert (lost, other, kept) == (0, 0, 0)
        assert on.foreign_writes() == on.early_thefts() == []
        assert "Traceback" not in on.logs(), on.logs()[-5000:]
    told = f"s to exit, {max(takeovers):.1f} s until others hold, {lost} lost"
    figure("B17", worst=round(max(exits), 1), n=STOPS, unit=told)
