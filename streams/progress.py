"""How events move their run: read where the runs are, fold the facts, write what changed."""

import json
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

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
TOUCH_S = 1.0  # last_event_at may lag this far behind: one UPDATE a second and run instead of one an event

PROVIDER, HOUSE = Source.PROVIDER, Source.HOUSE  # in Python 3.11 a member costs a call each time it is asked for
STILL = (RunStatus.CONNECTING, RunStatus.WAITING)  # from here any frame of the provider moves a run
STATUSES = {status.value: status for status in RunStatus}

_COLUMNS = (
    "{place}, lease.epoch, run.status, COALESCE(run.last_event_at < {cutoff}, TRUE), "
    "COALESCE((SELECT MAX(event.seq) FROM streams_event event WHERE event.run_id = lease.run_id), 0)"
)
_TABLES = (
    "{asked} JOIN streams_lease lease ON lease.run_id = asked.run_id JOIN streams_run run ON run.id = asked.run_id"
)
# One row with all of it: behind each row the interpreter's lock is let go, which costs 5 ms beside a busy loop.
_READ_SQLITE = (
    f"SELECT json_group_array(json_array({_COLUMNS.format(place='asked.key', cutoff='%s')})) "  # noqa: S608
    f"FROM {_TABLES.format(asked='(SELECT key, value AS run_id FROM json_each(%s)) asked')}"
)
# In one order, and shared: a takeover is an UPDATE, so it cannot slip in before our rows are committed.
_READ_POSTGRESQL = (
    f"SELECT {_COLUMNS.format(place='asked.place - 1', cutoff='%b::timestamptz')} "  # noqa: S608
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
    touchable: bool  # its last event is dated so long ago that the date may have to be moved
    reached: RunStatus  # by what the batch tells
    next_seq: int
    ids: dict[str, tuple[int, str]] = field(default_factory=dict)  # own id -> (seq, hash), as far as they are known
    heard_at: datetime | None = None  # of the batch's newest event from the provider


def read(entries: Sequence["Entry"]) -> dict[UUID, RunNow]:
    """The leases and runs of a batch; whoever takes a lease over waits until this transaction is done.

    The rows come back with their place in the question: to read a UUID costs more than all else of a row. For the same
    reason none is compared here, or asked for its hash more often than must be.
    """
    run_ids = list({entry.run_id for entry in entries})
    keys = [run_id.hex for run_id in run_ids]
    cutoff = max([entry.received_at for entry in entries]) - timedelta(seconds=TOUCH_S)
    if connection.vendor == "postgresql":
        # Not Django's own cursor, which would paste the values into the text.
        with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
            rows = cursor.execute(_READ_POSTGRESQL, [cutoff, run_ids]).fetchall()
    else:
        with connection.cursor() as cursor:
            cursor.execute(_READ_SQLITE, [connection.ops.adapt_datetimefield_value(cutoff), json.dumps(keys)])
            rows = json.loads(cursor.fetchone()[0])
    runs: dict[UUID, RunNow] = {}
    for place, epoch, name, touchable, last_seq in rows:
        run_id, status = run_ids[place], STATUSES[name]
        runs[run_id] = RunNow(run_id, keys[place], epoch, status, last_seq, bool(touchable), status, last_seq + 1)
    return runs


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
    heard: dict[UUID, RunNow] = {}
    last: dict[UUID, tuple[RunNow, Ended | None, datetime]] = {}
    for run, entry in new:
        if entry.source is PROVIDER:
            if run.heard_at is None:
                heard[run.run_id] = run
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


def spelled(at: datetime) -> str:
    """A moment as SQLite has it: as Django's own adapter spells it, at a quarter of its price."""
    return at.astimezone(UTC).isoformat(" ")[: -len("+00:00")]


def _touch(heard: Mapping[UUID, RunNow], told: Container[UUID]) -> None:
    """Date the runs' last event; at once where it had more than text to tell."""
    adapt = spelled if connection.vendor == "sqlite" else connection.ops.adapt_datetimefield_value
    values = []
    for run_id in sorted([run_id for run_id, run in heard.items() if run.touchable or run_id in told]):
        at = heard[run_id].heard_at
        assert at is not None
        values.append((adapt(at), run_id.hex, adapt(at if run_id in told else at - timedelta(seconds=TOUCH_S))))
    if not values:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(_TOUCH_SQLITE, [json.dumps(values)])
        else:
            cursor.executemany(_TOUCH_POSTGRESQL, values)


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
