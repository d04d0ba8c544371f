"""Who holds a stream while processes join, leave, sleep and die, their clocks are wrong and their database is away.

Every event and every change of a lease is witnessed by the database itself; the provider counts by the clock, so what
is missing is known without asking anybody. The short form runs with leases that end two and a half times sooner.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.countersign import eventually
from tests.e2e.ticker import Ticker, ticker
from tests.e2e.workers import Workers, migrated, shares_evenly, workers
from tests.faults.proxy import PASS, hole, proxy
from tests.long_form import LONG
from tests.plugins.figures import Figure

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.postgres, pytest.mark.redis]

SHORTER = 1.0 if LONG else 2.5
TTL_S = 15 / SHORTER
RUNS = 60 if LONG else 24
SEED = 7

DEAD = """
UPDATE streams_run SET status = 'streaming', connected_at = now() WHERE id = ANY(%s)
"""
DEAD_LEASES = """
INSERT INTO streams_lease (run_id, owner, epoch, expires_at)
SELECT id, 'dead-host:1:0badcafe', 3, now() + make_interval(secs => %s) FROM streams_run WHERE id = ANY(%s)
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The database that each test begins with."""
    with migrated(tmp_path_factory.mktemp("tables")) as url:
        yield url


def all_held(on: Workers, agents: Ticker, runs: int = RUNS) -> bool:
    """Every run is held by a worker that lives, and its stream is open."""
    mine = on.held()
    open_runs = {one.run for one in agents.open()}
    return sum(len(mine[name]) for name in on.running) == runs and len(open_runs) == runs


def awake(on: Workers, but: str) -> set[str]:
    """The runs that the living hold, but for one of them."""
    return {run_id for name, mine in on.held().items() if name in on.running and name != but for run_id in mine}


def nothing_wrong(on: Workers, agents: Ticker, runs: int = RUNS) -> None:
    """Let every run end; each must have all its events once and in order, written by nobody but its owner."""
    agents.finish()
    eventually(lambda: on.ended() == runs, why=f"every run has ended: {on.ended()}")
    assert on.wrong_events(agents.told()) == (0, 0)
    assert on.foreign_writes() == []
    assert on.early_thefts() == []
    assert (on.remarks("gap"), on.remarks("divergence")) == (0, 0)
    assert "Traceback" not in on.logs(), on.logs()[-5000:]


def test_each_stream_has_one_owner_while_workers_join_sleep_die_and_leave(
    tables: str, tmp_path: Path, figure: Figure
) -> None:
    with ticker(0.5) as agents, workers(tmp_path, agents.url, template=tables, shorter=SHORTER) as on:
        runs = on.watch("ticker", RUNS)
        # A host that died without a word: its streams are `streaming`, and its leases have just been renewed.
        stuck, since = runs[: RUNS // 3], on.now()
        on.rows(DEAD, stuck)
        on.rows(DEAD_LEASES, TTL_S, stuck)
        on.start("w1")
        eventually(lambda: all_held(on, agents), why="w1 holds all of them")
        worst_s = on.takeovers_s(stuck, since)[-1]
        figure("D8", worst=round(worst_s, 1), n=len(stuck), unit=f"s of takeover, leases of {TTL_S:g} s")

        # Three join: the first gives back what is theirs. The clocks of two are wrong by ten minutes.
        joined, since = [agents.times(f"run-{number}") for number in range(RUNS)], on.now()
        on.start("w2", CLOCK_AHEAD_S="600")
        on.start("w3", CLOCK_AHEAD_S="-600")
        on.start("w4")
        eventually(lambda: len(on.rows("SELECT 1 FROM streams_holderprocess")) == 4, why="four are there")
        took_s = shares_evenly(on, RUNS)
        eventually(lambda: all_held(on, agents), why="all are held again")
        again = [agents.times(f"run-{number}") - joined[number] for number in range(RUNS)]
        moves = on.moves(since)
        assert all(count <= moves.get(f"run-{number}", 0) for number, count in enumerate(again)), (again, moves)
        figure(
            "D6",
            worst=round(took_s, 1),
            n=RUNS,
            unit=f"s until 4 share alike, {sum(moves.values())} moves, a reconnect each",
        )

        # One sleeps through its leases and wakes with bytes in its sockets.
        slept_on = on.held()["w2"]
        on.running["w2"].sleep()
        asleep = on.now()
        eventually(lambda: not set(slept_on) - awake(on, "w2"), why=f"the others have taken over {slept_on}")
        time.sleep(max(0.0, 40 - (on.now() - asleep).total_seconds()) if LONG else 0.0)
        on.running["w2"].wake()
        eventually(lambda: on.held()["w2"], why="it is awake and has its share again")
        stale = on.foreign_writes()
        assert stale == []
        told = f"rows of an old epoch; taken over within {on.takeovers_s(slept_on, asleep)[-1]:.1f} s"
        figure("D2", worst=len(stale), n=on.rows("SELECT count(*) FROM wrote")[0][0], unit=told)

        # One is killed, one leaves in good order: two have it all.
        eventually(lambda: all_held(on, agents), why="all are held")
        lost, killed = on.held()["w3"], on.now()
        on.running["w3"].kill()
        on.end("w3")
        assert on.running["w4"].stop() == 0
        on.end("w4")
        took_s = shares_evenly(on, RUNS)
        figure("D6", worst=round(took_s, 1), n=RUNS, unit="s until the 2 that are left share alike, one was killed")
        eventually(lambda: all_held(on, agents), why="all are held by the two")
        worst_s = on.takeovers_s(lost, killed)[-1]
        figure("D1", worst=round(worst_s, 1), n=len(lost), unit=f"s of takeover, leases of {TTL_S:g} s, 0 lost")
        nothing_wrong(on, agents)
        figure("D3", worst=len(on.early_thefts()), n=len(on.rows("SELECT 1 FROM held")), unit="leases taken early")


def test_ten_minutes_of_kills(tables: str, tmp_path: Path, figure: Figure) -> None:
    chance, kills = random.Random(SEED), 30
    with ticker(1.0) as agents, workers(tmp_path, agents.url, template=tables) as on:
        on.watch("ticker", 60)
        for name in ("w1", "w2", "w3"):
            on.start(name)
        eventually(lambda: all_held(on, agents, 60) and on.uneven(60) <= 1.5, why="three share sixty")
        seconds: list[float] = []
        for number in range(kills):
            until = time.monotonic() + 20
            victim = chance.choice(sorted(on.running))
            mine, killed = on.held()[victim], on.now()
            on.running[victim].kill()
            on.end(victim)
            on.start(f"k{number}")
            eventually(lambda: all_held(on, agents, 60), why=f"all are held after kill {number}")
            seconds += on.takeovers_s(mine, killed)
            time.sleep(max(0.0, until - time.monotonic()))
        seconds.sort()
        p99 = seconds[int(len(seconds) * 0.99)]
        nothing_wrong(on, agents, 60)
        told = f"s of takeover (p99 {p99:.1f}) over {kills} kills in 10 min; 0 lost, 1 writer"
        figure("D1", worst=round(seconds[-1], 1), n=len(seconds), seed=SEED, unit=told)


@pytest.mark.parametrize("away", ["gone", "silent"])
def test_without_their_database_workers_stop_reading_and_come_back_alone(
    away: str, tables: str, tmp_path: Path, figure: Figure
) -> None:
    """gone: connections end and none is taken. silent: nothing is answered, and nobody is told."""
    with (
        ticker(0.5) as agents,
        workers(tmp_path, agents.url, template=tables, shorter=SHORTER) as on,
        proxy(on.database) as between,
    ):
        on.watch("ticker", RUNS)
        url = urlsplit(on.database)
        through = urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{between.port}")))
        for name in ("w1", "w2"):
            on.start(name, DATABASE_URL=through)
        eventually(lambda: all_held(on, agents), why="two hold them")
        cut_at = time.monotonic()
        if away == "gone":
            between.refuse()
            between.end("reset")
        else:
            between.change(hole())
        eventually(lambda: not agents.open(), why="nobody reads")
        stopped_s = max(one.until_s or 0.0 for one in agents.heard) - cut_at
        time.sleep(max(0.0, (30 if LONG else 8) - (time.monotonic() - cut_at)))
        assert all(one.process.poll() is None for one in on.running.values()), on.logs()[-3000:]
        back_at = time.monotonic()
        if away == "gone":
            between.listen()
        else:
            between.change(PASS)
        eventually(lambda: all_held(on, agents), why="all are held again")
        told = f"s until nobody read (database {away}), back after {time.monotonic() - back_at:.1f} s, 0 lost"
        figure("D4", worst=round(stopped_s, 1), n=RUNS, unit=told)
        nothing_wrong(on, agents)
