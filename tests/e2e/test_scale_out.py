"""Many processes on PostgreSQL and Redis: one serves, others hold; they are killed, or stopped and woken, at random."""

import base64
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from tests.countersign import Countersign, approvals, countersign, eventually
from tests.e2e.rules import broken_rules
from tests.e2e.stage import KINDS, Stage
from tests.emulator import emulator
from tests.fifty_decisions import Session, settle
from tests.long_form import LONG

pytestmark = [pytest.mark.process, pytest.mark.postgres, pytest.mark.redis]

DECISIONS = 24 if LONG else 12
KILL_EVERY = 4  # decisions
ASLEEP_S = 20  # longer than a lease lives
SEED = 7


@dataclass
class Cluster:
    """One server, some holders beside it, and a look into their database."""

    on: Stage
    database: str

    @property
    def house(self) -> Countersign:
        return self.on.house

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(query).fetchall()

    def alive(self) -> set[int]:
        """The processes that said lately that they are there."""
        seen = self.rows("SELECT owner FROM streams_holderprocess WHERE seen_at > now() - interval '15 seconds'")
        return {int(owner.split(":")[1]) for (owner,) in seen}

    def held_by(self, pid: int) -> list[str]:
        """The runs whose leases a process has."""
        found = self.rows("SELECT owner, run_id FROM streams_lease WHERE expires_at > now() AND owner <> ''")
        return [str(run_id) for owner, run_id in found if int(owner.split(":")[1]) == pid]


@contextmanager
def database() -> Iterator[str]:
    """A database of our own; returns its URL."""
    url = urlsplit(os.environ["COUNTERSIGN_TEST_DATABASE_URL"])
    name = f"countersign_scale_{os.getpid()}"
    with psycopg.connect(urlunsplit(url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlunsplit(url._replace(path=f"/{name}"))
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One `up`, two `hold`, one emulator."""
    folder = tmp_path_factory.mktemp("cluster")
    with database() as url, emulator("all", state=folder / "emulator", pace="fast", seed=SEED) as agents:
        env = {
            "DATABASE_URL": url,
            "REDIS_URL": os.environ["COUNTERSIGN_TEST_REDIS_URL"],
            "COUNTERSIGN_REDIS_PREFIX": f"scale-{os.getpid()}",
            "COUNTERSIGN_SECRET_KEY": secrets.token_urlsafe(50),
            "COUNTERSIGN_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "COUNTERSIGN_UNDO_S": "1",
        }
        with countersign(folder / "data", env=env) as house:
            made = Cluster(Stage(house, agents, house.api()), url)
            made.on.account(*KINDS)
            try:
                for _ in range(2):
                    made.house.add_holder()
                eventually(lambda: len(made.alive()) == 3, why="all are there")
                yield made
            finally:
                made.on.api.close()
                assert set(made.house.end_holders()) <= {0}
        log = house.log.read_text()
    assert "Traceback" not in log, log[-5000:]


def test_a_holder_that_slept_through_its_lease_writes_nothing_and_sends_nothing_twice(cluster: Cluster) -> None:
    """Its runs go on elsewhere meanwhile; when it wakes, with bytes in its sockets, it must notice that itself."""
    on, sleeper = cluster.on, cluster.house.holders[0]

    def slept_upon() -> list[str]:
        on.start("the-mindra", "outbound-email")
        mine = set(cluster.held_by(sleeper.pid))
        return [run_id for run_id in on.started if run_id in mine] if len(mine) >= 2 else []

    runs = eventually(slept_upon, why="the holder has runs")
    asked = {run_id: on.asked(run_id)[0] for run_id in on.started}
    sleeper.send_signal(signal.SIGSTOP)
    for row in asked.values():  # some of them by the sleeper's courier, had it not slept
        on.approve(row)
    for row in asked.values():
        on.becomes(row["id"], "delivered")
    time.sleep(ASLEEP_S)
    for run_id in runs:
        on.ended(run_id)
    before = {run_id: on.events(run_id) for run_id in runs}
    sleeper.send_signal(signal.SIGCONT)
    # It is awake when it holds streams again, or says that it could.
    eventually(lambda: sleeper.pid in cluster.alive(), why="it is back")
    eventually(lambda: not cluster.held_by(sleeper.pid), why="it let go what is over")
    for run_id in runs:
        assert on.events(run_id) == before[run_id]
        assert on.stored(run_id) == on.told(run_id)
        assert {"gap", "divergence"}.isdisjoint(on.remarks(run_id))
    for row in asked.values():
        assert on.did(row) == (1, 0, 1, 0)
        assert on.request(row["id"])["delivery"]["attempts"] == 1


@pytest.mark.long
def test_random_decisions_have_one_effect_each_while_processes_are_killed(cluster: Cluster) -> None:
    on, rng = cluster.on, random.Random(SEED)
    session = Session(on.house, on.agents, rng, "api", run_ids=list(on.started))
    session.api, session.browser = on.api, None
    known = {row["id"] for row in approvals(on.api)}
    for number in range(1, DECISIONS + 1):
        session.start_runs()
        eventually(lambda: approvals(session.api, status="pending"), why="something to decide")
        if number % KILL_EVERY:
            eventually(session.decide_one)
            continue
        victim = rng.randrange(3)
        try:
            session.decide_one()
        except httpx.TransportError:
            pass
        if victim < 2:
            cluster.house.kill_holder(victim)
        else:
            on.house.kill()
            on.restart()
            session.api = on.api
    rows = settle(session)
    assert broken_rules(session) == []
    mine = [row for row in rows if row["id"] not in known]
    assert sum(row["decision"] is not None for row in mine) >= DECISIONS - session.conflicts - len(session.doubtful)
    assert "the chain" not in on.house.command("audit", "verify")
    # Nothing is held by a process that is gone, and nothing waits for one.
    eventually(
        lambda: (
            not cluster.rows(
                "SELECT run.id, run.status FROM streams_run run JOIN streams_lease lease ON lease.run_id = run.id "
                "WHERE run.ended_at IS NULL AND run.status IN ('queued', 'connecting') AND lease.expires_at < now()"
            )
        ),
        why="every run has a holder",
    )
