"""Several `manage.py hold` on a PostgreSQL database of their own, and its witnesses: who wrote, and who held when."""

import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.countersign import FROM_US, ROOT, START_S, STOP_S, eventually

WITNESSES = """
CREATE TABLE wrote (run_id uuid, seq bigint, writer text, owner text, epoch bigint, at timestamptz);
CREATE FUNCTION see_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO wrote SELECT NEW.run_id, NEW.seq, current_setting('application_name'), COALESCE(NULLIF(lease.owner, ''), (
    SELECT before FROM held WHERE held.run_id = NEW.run_id ORDER BY at DESC LIMIT 1)), epoch, clock_timestamp()
  FROM streams_lease lease WHERE run_id = NEW.run_id;
  RETURN NULL;
END $$;
CREATE TRIGGER see_write AFTER INSERT ON streams_event FOR EACH ROW EXECUTE FUNCTION see_write();
CREATE TABLE held (run_id uuid, owner text, epoch bigint, before text, due timestamptz, at timestamptz);
CREATE FUNCTION see_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO held VALUES (NEW.run_id, NEW.owner, NEW.epoch, OLD.owner, OLD.expires_at, clock_timestamp());
  RETURN NULL;
END $$;
CREATE TRIGGER see_lease AFTER UPDATE ON streams_lease FOR EACH ROW
  WHEN (NEW.owner <> OLD.owner OR NEW.epoch <> OLD.epoch) EXECUTE FUNCTION see_lease();
"""
"""wrote: each stored event, by which process (its application name) and under whose lease, seen in its transaction;
what was read before a lease was given back may be stored after it, as long as nobody has taken it.
held: each lease that changed hands, what it was before, and when that would have run out."""

PROVIDER = """
INSERT INTO streams_provider (id, name, kind, base_url, secret_sealed, webhook_secret_sealed, dialect, options, paused,
  created_at) VALUES (gen_random_uuid(), 'ticker', 'mindra', %s, '', '', '', '{}', false, now())
"""
RUN = """
INSERT INTO streams_run (id, provider_id, external_id, thread_id, title, task, workflow, options, stream_url, opened_by,
  status, status_changed_at, outcome, error, reconnects, started_at)
SELECT gen_random_uuid(), id, %s, '', %s, '', '', '{}', '', '', 'queued', now(), '', '', 0, now() FROM streams_provider
WHERE name = %s RETURNING id
"""


@dataclass
class Worker:
    """One `manage.py hold`."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def sleep(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Workers:
    """The processes, and what their database tells."""

    database: str
    folder: Path
    env: dict[str, str]
    running: dict[str, Worker] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)  # of all there ever were

    def start(self, name: str, **env: str) -> Worker:
        """Start one more; its clock and its way to the database may be its own."""
        env = {**self.env, **env}
        url = urlsplit(env["DATABASE_URL"])
        env["DATABASE_URL"] = urlunsplit(url._replace(query=f"application_name={name}"))
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "hold"], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        made = self.running[name] = Worker(name, process, log)
        self.pids[name] = process.pid
        return made

    def end(self, name: str) -> None:
        """Forget one that is gone."""
        del self.running[name]

    def command(self, *arguments: str, **env: str) -> str:
        """Run `manage.py ARGUMENTS` and return its stdout."""
        ran = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env={**self.env, **env}, capture_output=True, text=True, timeout=START_S,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        return ran.stdout

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            found = connection.execute(query, values)
            return found.fetchall() if found.description else []

    def watch(self, provider: str, count: int, *, name: str = "run") -> list[str]:
        """Rows of runs that somebody else started: `name-0`, `name-1`, ...; returns their ids."""
        names = [f"{name}-{number}" for number in range(count)]
        with psycopg.connect(self.database) as connection:
            made = [connection.execute(RUN, (one, one, provider)).fetchone() for one in names]
        return [str(row[0]) for row in made if row is not None]

    # -- who has what

    def held(self) -> Mapping[str, list[str]]:
        """Worker -> runs whose live leases it has; those of the living that have none are there too."""
        found = self.rows("SELECT owner, run_id FROM streams_lease WHERE owner <> '' AND expires_at > now()")
        names = {pid: name for name, pid in self.pids.items()}
        shared: dict[str, list[str]] = {name: [] for name in self.running}
        for owner, run_id in found:
            shared.setdefault(names.get(int(owner.split(":")[1]), owner), []).append(str(run_id))
        return shared

    def uneven(self, runs: int) -> float:
        """Most by least streams of a worker that lives; infinite while not all are held by the living."""
        counts = [len(mine) for name, mine in self.held().items() if name in self.running]
        return max(counts) / min(counts) if sum(counts) == runs and min(counts) else float("inf")

    # -- what was seen

    def foreign_writes(self) -> list[tuple[Any, ...]]:
        """Stored events whose writer was not the owner of the lease, or whose epoch was no longer the last one."""
        wrong = []
        newest: dict[str, int] = {}
        for run_id, seq, writer, owner, epoch in self.rows(
            "SELECT run_id, seq, writer, owner, epoch FROM wrote ORDER BY run_id, seq"
        ):
            pid = int(owner.split(":")[1]) if owner else -1
            if self.pids.get(writer) != pid or epoch < newest.get(run_id, 0):
                wrong.append((str(run_id), seq, writer, owner, epoch))
            newest[run_id] = max(epoch, newest.get(run_id, 0))
        return wrong

    def early_thefts(self) -> list[tuple[Any, ...]]:
        """Leases that somebody took while another one's had not run out and was not given back."""
        return self.rows("SELECT * FROM held WHERE owner <> '' AND before <> '' AND before <> owner AND due > at")

    def moves(self, since: Any) -> dict[str, int]:
        """How often each run (by its provider's id) got another owner since then."""
        return dict(
            self.rows(
                "SELECT external_id, count(*) FROM held JOIN streams_run ON id = run_id WHERE owner <> '' AND at > %s "
                "GROUP BY external_id",
                since,
            )
        )

    def takeovers_s(self, runs: list[str], since: Any) -> list[float]:
        """Seconds from then until each of these runs had its next owner."""
        found = self.rows(
            "SELECT EXTRACT(epoch FROM min(at) - %s) FROM held WHERE run_id = ANY(%s) AND at > %s AND owner <> '' "
            "GROUP BY run_id",
            since, runs, since,
        )  # fmt: skip
        assert len(found) == len(runs), f"{len(runs) - len(found)} of {len(runs)} were taken over by nobody"
        return sorted(float(one) for (one,) in found)

    def now(self) -> Any:
        """The database's clock."""
        return self.rows("SELECT clock_timestamp()")[0][0]

    def ended(self, status: str = "finished") -> int:
        return int(self.rows("SELECT count(*) FROM streams_run WHERE status = %s", status)[0][0])

    def wrong_events(self, told: list[str]) -> tuple[int, int]:
        """How many of what the provider told every run are missing, and how many are there twice or out of turn."""
        lost = other = 0
        stored: dict[str, list[str]] = {}
        for run_id, payload in self.rows(
            "SELECT r.id, e.payload FROM streams_run r LEFT JOIN streams_event e ON e.run_id = r.id AND "
            "e.source = 'provider' ORDER BY r.id, e.seq"
        ):
            stored.setdefault(str(run_id), []).append(payload)
        for payloads in stored.values():
            lost += sum((Counter(told) - Counter(payloads)).values())
            other += sum((Counter(payloads) - Counter(told)).values())
            other += payloads != told and Counter(payloads) == Counter(told)
        return lost, other

    def remarks(self, kind: str) -> int:
        query = "SELECT count(*) FROM streams_event WHERE source = 'house' AND kind = %s"
        return int(self.rows(query, kind)[0][0])

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextmanager
def database(template: str = "template1") -> Iterator[str]:
    """A database of our own, empty or as its template is; returns its URL."""
    url = urlsplit(os.environ["COUNTERSIGN_TEST_DATABASE_URL"])
    name = f"countersign_own_{os.getpid()}_{secrets.token_hex(3)}"
    with psycopg.connect(urlunsplit(url), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template.rpartition("/")[2]}"')
        try:
            yield urlunsplit(url._replace(path=f"/{name}"))
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def environment(folder: Path, database: str) -> dict[str, str]:
    """What a process on this database is started with; keys and the prefix in Redis are new ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FROM_US)}
    return {
        **kept,
        "COUNTERSIGN_BOOTSTRAP": "0",
        "COUNTERSIGN_DATA_DIR": str(folder),
        "COUNTERSIGN_SECRET_KEY": secrets.token_urlsafe(50),
        "COUNTERSIGN_FIELD_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "COUNTERSIGN_REDIS_PREFIX": f"own-{os.getpid()}-{secrets.token_hex(3)}",
        "DATABASE_URL": database,
        "REDIS_URL": os.environ["COUNTERSIGN_TEST_REDIS_URL"],
        "DJANGO_SETTINGS_MODULE": "tests.e2e.other_settings",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def migrated(folder: Path) -> Iterator[str]:
    """A database with every table and its witnesses, as a template; returns its URL."""
    with database() as url:
        made = Workers(url, folder, environment(folder, url))
        made.command("migrate", "--verbosity", "0")
        made.rows(WITNESSES)
        yield url


@contextmanager
def workers(folder: Path, agents_url: str, *, template: str, shorter: float = 1.0) -> Iterator[Workers]:
    """A database made from the template, with the provider `ticker`; ends every worker at the end."""
    with database(template) as url:
        made = Workers(url, folder, {**environment(folder, url), "LEASES_SHORTER": str(shorter)})
        made.rows(PROVIDER, agents_url)
        try:
            yield made
        finally:
            for one in made.running.values():
                one.wake()
                one.process.terminate()
            for one in made.running.values():
                try:
                    one.process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    one.kill()


def shares_evenly(on: Workers, runs: int, *, within_s: float = 60.0) -> float:
    """Wait until no worker has more than half as much again as another; returns how long it took."""
    began = time.monotonic()
    eventually(lambda: on.uneven(runs) <= 1.5, within_s=within_s, why=f"evenly shared: {on.uneven(runs)}")
    return time.monotonic() - began
