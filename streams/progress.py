"""How events move their run: read where the runs are, fold the facts, write what changed."""

import json
import logging
import threading
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import psycopg
from django.db import IntegrityError, connection, transaction

from streams import events, lifecycle
from streams.events import Ended, Paused, Started
from streams.models import Run, RunStatus, Source

if TYPE_CHECKING:
    from streams.commit import Entry

logger = logging.getLogger(__name__)

ID_CHARS = 255
OUTCOME_CHARS = 60
ERROR_CHARS = 2000
KNOWN_RUNS = 20_000  # more are not remembered from batch to batch
TOUCH = timedelta(
    seconds=1
)  # last_event_at may lag this far behind: one UPDATE a second and run instead of one an event

PROVIDER, HOUSE = Source.PROVIDER, Source.HOUSE  # in Python 3.11 a member costs a call each time it is asked for
STILL = (RunStatus.CONNECTING, RunStatus.WAITING)  # from here any frame of the provider moves a run
STATUSES = {status.value: status for status in RunStatus}

_COLUMNS = (
    "{place}, lease.epoch, run.status, run.last_event_at, "
    "COALESCE((SELECT MAX(event.seq) FROM streams_event event WHERE event.run_id = lease.run_id), 0)"
)
_TABLES = (
    "{asked} JOIN streams_lease lease ON lease.run_id = asked.run_id JOIN streams_run run ON run.id = asked.run_id"
)
# One row with all of it: behind each row the interpreter's lock is let go, which costs 5 ms beside a busy loop.
_READ_SQLITE = (
    f"SELECT json_group_array(json_array({_COLUMNS.format(place='asked.key')})) "  # noqa: S608
    f"FROM {_TABLES.format(asked='(SELECT key, value AS run_id FROM json_each(%s)) asked')}"
)
# In one order, and shared: a takeover is an UPDATE, so it cannot slip in before our rows are committed.
_READ_POSTGRESQL = (
    f"SELECT {_COLUMNS.format(place='asked.place - 1')} "  # noqa: S608
    f"FROM {_TABLES.format(asked='unnest(%b::uuid[]) WITH ORDINALITY AS asked(run_id, place)')} "
    "ORDER BY lease.run_id FOR SHARE OF lease"
)
_TOUCH_SQLITE = (
    "UPDATE streams_run SET last_event_at = told.at FROM (SELECT json_extract(value, '$[0]') AS at, "
    "json_extract(value, '$[1]') AS id, json_extract(value, '$[2]') AS before FROM json_each(%s)) told "
    "WHERE streams_run.id = told.id AND (last_event_at IS NULL OR last_event_at < told.before)"
)
_TOUCH_POSTGRESQL = (
    "UPDATE streams_run SET last_event_at = %s WHERE id = %s AND (last_event_at IS NULL OR last_event_at < %s)"
)


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


@dataclass(slots=True)
class _Known:
    """Runs as a batch left them. Good as long as nobody wrote since: neither through this connection nor another."""

    connection: Any
    version: int  # PRAGMA data_version, asked while nobody else could write
    changes: int  # of rows, through this connection
    runs: dict[UUID, RunNow]


_own = threading.local()  # version: what this thread's batch began with; known: what is known from those before


def read(entries: Sequence["Entry"]) -> dict[UUID, RunNow]:
    """The leases and runs of a batch; whoever takes a lease over waits until this transaction is done.

    On SQLite only those are asked for that are not known from the batches before (`remember`).
    """
    run_ids = list({entry.run_id for entry in entries})
    if connection.vendor == "postgresql":
        return _read_postgresql(run_ids)
    known = _still_known()
    runs = {run_id: run for run_id in run_ids if (run := known.get(run_id)) is not None}
    if len(runs) < len(run_ids):
        read = _read_sqlite([run_id for run_id in run_ids if run_id not in runs])
        runs |= read
        known |= read
    _own.runs = known
    return runs


def _still_known() -> dict[UUID, RunNow]:
    """What is known from the batches before, once: until remember() is called, nothing is. Inside the transaction."""
    known: _Known | None = getattr(_own, "known", None)
    raw = connection.connection
    with connection.wrap_database_errors:
        _own.version = raw.execute("PRAGMA data_version").fetchone()[0]
    _own.known = None
    if known is None or known.connection is not raw:
        return {}
    return known.runs if (known.version, known.changes) == (_own.version, raw.total_changes) else {}


def remember(runs: Mapping[UUID, RunNow]) -> None:
    """The batch that read these is committed, and stored mere text: they are where it left them.

    SQLite tells in microseconds whether anybody wrote since, and lets nobody in between that question and the commit.
    To ask for the leases again costs more than all else of an event that comes alone.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block or len(_own.runs) > KNOWN_RUNS:
        return
    for run in runs.values():
        run.last_seq = max(run.last_seq, run.next_seq - 1)  # a repeat may have found more than it brought
        run.heard_at = None
        run.ids.clear()
    _own.known = _Known(connection.connection, _own.version, connection.connection.total_changes, _own.runs)


def changes() -> int:
    """Rows changed through this connection so far; on PostgreSQL, where nothing is remembered, 0."""
    return connection.connection.total_changes if connection.vendor == "sqlite" else 0


def _read_sqlite(run_ids: Sequence[UUID]) -> dict[UUID, RunNow]:
    keys = [run_id.hex for run_id in run_ids]
    with connection.cursor() as cursor:
        cursor.execute(_READ_SQLITE, [json.dumps(keys)])
        rows = json.loads(cursor.fetchone()[0])
    runs = {}
    for place, epoch, status, dated, last_seq in rows:
        dated_at = None if dated is None else datetime.fromisoformat(dated).replace(tzinfo=UTC)
        runs[run_ids[place]] = _run_now(run_ids[place], keys[place], epoch, status, dated_at, last_seq)
    return runs


def _read_postgresql(run_ids: Sequence[UUID]) -> dict[UUID, RunNow]:
    # Not Django's own cursor, which would paste the values into the text.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        rows = cursor.execute(_READ_POSTGRESQL, [run_ids]).fetchall()
    return {run_ids[place]: _run_now(run_ids[place], run_ids[place].hex, *rest) for place, *rest in rows}


def _run_now(run_id: UUID, key: str, epoch: int, name: str, dated_at: datetime | None, last_seq: int) -> RunNow:
    status = STATUSES[name]
    return RunNow(run_id, key, epoch, status, last_seq, dated_at, status, last_seq + 1)


def wanted(status: RunStatus, entry: "Entry") -> tuple[RunStatus, Ended | None]:
    """Where one event moves a run, and the last word that did it. Pure; refused moves leave the run where it is."""
    end: Ended | None = None
    targets: list[tuple[RunStatus, Ended | None]] = []
    if entry.source is PROVIDER and entry.advances and status in STILL:
        targets.append((RunStatus.STREAMING, None))
    for fact in entry.facts:
        match fact:
            case Started():
                targets.append((RunStatus.STREAMING, None))
            case Paused():
                targets.append((RunStatus.WAITING, None))
            case Ended(how=how):
                targets.append((RunStatus(how), fact))
    for target, word in targets:
        if target in lifecycle.MOVES[status]:
            status, end = target, word or end
    return status, end


def apply(new: Sequence[tuple[RunNow, "Entry"]]) -> Container[UUID]:
    """Move and date the runs of these stored entries. Returns the runs that had more than text to tell."""
    told: dict[UUID, RunNow] = {}
    heard: list[RunNow] = []
    last: dict[UUID, tuple[RunNow, Ended | None, datetime]] = {}
    for run, entry in new:
        if entry.source is PROVIDER:
            if run.heard_at is None:
                heard.append(run)
            run.heard_at = entry.received_at
            if not entry.facts and run.reached not in STILL:
                continue  # most events: text of a run that is streaming
        before, (run.reached, end) = run.reached, wanted(run.reached, entry)
        if run.reached != before:
            last[run.run_id] = (run, end, entry.received_at)
        for fact in entry.facts:
            if isinstance(fact, Started):
                _name(run.run_id, fact)
        if entry.facts or entry.source is HOUSE:
            told[run.run_id] = run
        if entry.source is HOUSE and entry.kind in ("connected", "disconnected"):
            _connection(entry)
    for run_id, (run, end, at) in sorted(last.items()):
        told[run_id] = run
        if run.reached != run.status:
            lifecycle.try_move(run_id, to=run.reached, at=at, **_last_word(end))
    _touch(heard, told)
    return told.keys()


def spelled(moments: Iterable[datetime]) -> list[str]:
    """Moments as SQLite has them, as Django's own adapter spells each, at a tenth of its price."""
    text = orjson.dumps([at.astimezone(UTC) for at in moments]).decode()  # ["2026-11-03T12:00:00.000005+00:00",...]
    return text[2:-2].replace("T", " ").replace("+00:00", "").split('","')


def _touch(heard: Sequence[RunNow], told: Container[UUID]) -> None:
    """Date the runs' last event; at once where it had more than text to tell."""
    late = sorted([run for run in heard if _is_late(run) or run.run_id in told], key=_key)
    if not late:
        return
    for run in late:
        run.dated_at = run.heard_at
    newest = [run.heard_at for run in late if run.heard_at is not None]
    before = [at if run.run_id in told else at - TOUCH for run, at in zip(late, newest, strict=True)]
    keys = [run.key for run in late]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(_TOUCH_SQLITE, [json.dumps(list(zip(spelled(newest), keys, spelled(before), strict=True)))])
        else:
            cursor.executemany(_TOUCH_POSTGRESQL, list(zip(newest, keys, before, strict=True)))


def _key(run: RunNow) -> str:
    return run.key


def _is_late(run: RunNow) -> bool:
    return run.dated_at is None or run.heard_at is None or run.dated_at < run.heard_at - TOUCH


def _last_word(end: Ended | None) -> dict[str, Any]:
    if end is None:
        return {}
    outcome, error = events.text(end.outcome)[0], events.text(end.error)[0]
    return {"outcome": outcome[:OUTCOME_CHARS], "error": error[:ERROR_CHARS], "connected_at": None}


def _connection(entry: "Entry") -> None:
    """The house's own note on a connection, kept on the run as well."""
    run = Run.objects.filter(pk=entry.run_id)
    if entry.kind == "disconnected":
        run.update(connected_at=None)
    else:
        run.update(connected_at=entry.received_at, reconnects=json.loads(entry.payload).get("reconnects", 0))


def _name(run_id: UUID, started: Started) -> None:
    """Fill in the ids that were not known. An id that another run has is left out: two rows cannot be one run."""
    external_id, thread_id = (
        events.text(started.external_id)[0][:ID_CHARS],
        events.text(started.thread_id)[0][:ID_CHARS],
    )
    if thread_id:
        Run.objects.filter(pk=run_id, thread_id="").update(thread_id=thread_id)
    if external_id:
        try:
            with transaction.atomic():
                Run.objects.filter(pk=run_id, external_id=None).update(external_id=external_id)
        except IntegrityError:
            logger.error("run %s: its provider's id is another run's already", run_id)
