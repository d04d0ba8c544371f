"""Where the runs of a batch stand: lease, status, newest event. Asked in the batch's transaction, or still known.

What was found is remembered from batch to batch, because to ask again costs more than all else of an event that comes
alone. On SQLite it is good as long as nobody wrote: the database tells that in microseconds, and the transaction lets
nobody in between that question and the commit. On PostgreSQL lease and status are read each time, and the lease is
locked; under the epoch that a run is known with nobody else stores events of it.
"""

import json
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from streams.models import RunStatus

if TYPE_CHECKING:
    from streams.commit import Entry

KNOWN_RUNS = 20_000  # more are not remembered
STATUSES = {status.value: status for status in RunStatus}

_NEWEST = "COALESCE((SELECT MAX(event.seq) FROM streams_event event WHERE event.run_id = lease.run_id), 0)"
_JOINED = "JOIN streams_lease lease ON lease.run_id = asked.run_id JOIN streams_run run ON run.id = asked.run_id"
# One row with all of it: behind each row the interpreter's lock is let go, which costs 5 ms beside a busy loop.
_READ_SQLITE = (
    f"SELECT json_group_array(json_array(asked.key, lease.epoch, run.status, run.last_event_at, {_NEWEST})) "  # noqa: S608
    f"FROM (SELECT key, value AS run_id FROM json_each(?)) asked {_JOINED}"
)
# In one order, and shared: a takeover is an UPDATE, so it cannot slip in before our rows are committed.
_READ_POSTGRESQL = (
    "SELECT asked.place - 1, lease.epoch, run.status, "  # noqa: S608
    "CASE WHEN lease.epoch = asked.epoch THEN NULL ELSE run.last_event_at END, "
    f"CASE WHEN lease.epoch = asked.epoch THEN NULL ELSE {_NEWEST} END "
    f"FROM unnest(%b::uuid[], %b::int8[]) WITH ORDINALITY AS asked(run_id, epoch, place) {_JOINED} "
    "ORDER BY lease.run_id FOR SHARE OF lease"
)
_UNKNOWN = -1  # an epoch that no lease has


@dataclass(slots=True)
class RunNow:
    """A run as the transaction found it, and where the batch has got to with it."""

    run_id: UUID
    key: str  # its id as SQLite has it
    epoch: int
    status: RunStatus
    last_seq: int  # the newest that is stored
    dated_at: datetime | None  # of its last event, as the row says
    reached: RunStatus  # by what the batch tells
    next_seq: int
    ids: dict[str, tuple[int, str]] = field(default_factory=dict)  # own id -> (seq, hash), as far as they are known
    heard_at: datetime | None = None  # of the batch's newest event from the provider


Runs = dict[UUID, RunNow]


@dataclass(slots=True)
class _Known:
    """Runs as a batch left them. On SQLite with what tells whether anybody wrote since."""

    runs: Runs
    connection: Any = None
    version: int = 0  # PRAGMA data_version, asked while nobody else could write
    changes: int = 0  # of rows, through this connection itself


_own = threading.local()  # known: from the batches before; read: what this one found, and `version` when


def read(entries: Sequence["Entry"]) -> Runs:
    """The leases and runs of a batch; whoever takes a lease over waits until this transaction is done.

    A UUID is costly to read, to compare and to hash, so rows come back with their place in the question.
    """
    db = connections[DEFAULT_DB_ALIAS]  # django.db.connection finds it anew for each attribute
    run_ids = list({entry.run_id for entry in entries})
    known: _Known | None = getattr(_own, "known", None)
    _own.known = None  # until remember() says so: this batch may fail
    with db.wrap_database_errors:
        if db.vendor == "postgresql":
            return _read_postgresql(db.connection, run_ids, known.runs if known is not None else {})
        return _read_sqlite(db.connection, run_ids, _if_nobody_wrote(db.connection, known))


def remember(runs: Mapping[UUID, RunNow], *, moved: Collection[UUID]) -> None:
    """The batch that read these is committed: they are where it left them, but for those that it moved."""
    db = connections[DEFAULT_DB_ALIAS]
    if db.in_atomic_block or len(_own.read) > KNOWN_RUNS:
        return
    for run in runs.values():
        run.last_seq = max(run.last_seq, run.next_seq - 1)  # a repeat may have found more than it brought
        run.heard_at = None
        run.ids.clear()
    for run_id in moved:
        _own.read.pop(run_id, None)
    sqlite = db.vendor == "sqlite"
    _own.known = (
        _Known(_own.read, db.connection, _own.version, db.connection.total_changes) if sqlite else _Known(_own.read)
    )


def changes() -> int:
    """Rows changed through this connection so far. 0 on PostgreSQL, where nobody has to know."""
    db = connections[DEFAULT_DB_ALIAS]
    changed: int = db.connection.total_changes if db.vendor == "sqlite" else 0
    return changed


def _if_nobody_wrote(raw: Any, known: _Known | None) -> Runs:
    """Neither through another connection nor through this one."""
    _own.version = raw.execute("PRAGMA data_version").fetchone()[0]
    if known is None or known.connection is not raw:
        return {}
    return known.runs if (known.version, known.changes) == (_own.version, raw.total_changes) else {}


def _read_sqlite(raw: Any, run_ids: Sequence[UUID], known: Runs) -> Runs:
    runs = {run_id: run for run_id in run_ids if (run := known.get(run_id)) is not None}
    if len(runs) < len(run_ids):
        missing = [run_id for run_id in run_ids if run_id not in runs]
        keys = [run_id.hex for run_id in missing]
        (rows,) = raw.execute(_READ_SQLITE, [json.dumps(keys)]).fetchone()
        for place, epoch, status, dated, last_seq in json.loads(rows):
            dated_at = None if dated is None else datetime.fromisoformat(dated).replace(tzinfo=UTC)
            run_id = missing[place]
            known[run_id] = runs[run_id] = _run_now(run_id, keys[place], epoch, status, dated_at, last_seq)
    _own.read = known
    return runs


def _read_postgresql(raw: Any, run_ids: Sequence[UUID], known: Runs) -> Runs:
    epochs = [run.epoch if (run := known.get(run_id)) is not None else _UNKNOWN for run_id in run_ids]
    # Not Django's own cursor, which would paste the values into the text.
    with psycopg.Cursor(raw) as cursor:
        rows = cursor.execute(_READ_POSTGRESQL, [run_ids, epochs]).fetchall()
    runs: Runs = {}
    for place, epoch, status, dated_at, last_seq in rows:
        run_id = run_ids[place]
        if last_seq is None:
            runs[run_id] = run = known[run_id]
            run.status = run.reached = STATUSES[status]
        else:
            runs[run_id] = _run_now(run_id, run_id.hex, epoch, status, dated_at, last_seq)
    known |= runs
    _own.read = known
    return runs


def _run_now(run_id: UUID, key: str, epoch: int, name: str, dated_at: datetime | None, last_seq: int) -> RunNow:
    status = STATUSES[name]
    return RunNow(run_id, key, epoch, status, last_seq, dated_at, status, last_seq + 1)
