"""The audit chain: append-only entries, each sealed over the one before, and the verifier.

Format 1. `hash` is the lower-case hex SHA-256 of the canonical JSON (ASCII, no white space) of the list

    [format, seq, previous, at, actor, action, target, origin, data]

where `previous` is the hash of entry seq - 1 (64 zeros for the first), `at` is UTC as 2026-11-21T09:30:00.123456Z, and
`data` is the entry's own canonical JSON text (keys sorted). `seq` starts at 1 and has no holes. Data holds ids and
hashes of inputs, never inputs. The single head row repeats the last seq and hash: every writer updates it first, so
that chains cannot fork; it is the last lock that a transaction takes, so that locks cannot cross.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db.models import F

from approvals import deadlines
from approvals.errors import ChainBroken
from approvals.models import ApprovalRequest, AuditEntry, AuditHead
from streams import announce, events
from streams.faults import fault

FORMAT = 1
SYSTEM = "system"
START = "0" * 64
ROWS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be proved: who did what, to what, from where."""

    action: str
    target: str
    actor: str = SYSTEM
    origin: str = ""
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bad:
    """The first row that does not verify."""

    seq: int
    why: str

    def __str__(self) -> str:
        return f"audit entry {self.seq}: {self.why}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look over the whole chain found; `seq` and `hash` are the last good entry's."""

    seq: int
    hash: str
    bad: Bad | None = None


def append(
    *, action: str, actor: str, target: str, origin: str = "", data: Mapping[str, object] | None = None
) -> AuditEntry:
    """Append one entry, as the last statement of the caller's transaction."""
    return append_all([Entry(action=action, actor=actor, target=target, origin=origin, data=data or {})])[0]


def append_all(entries: Sequence[Entry]) -> list[AuditEntry]:
    """Append entries in order, as the last statement of the caller's transaction. Raises ChainBroken without a head."""
    if not entries:
        return []
    if not AuditHead.objects.filter(pk=1).update(seq=F("seq") + len(entries)):
        raise ChainBroken("the audit chain has no head row")
    head = AuditHead.objects.get(pk=1)
    seq, previous, at = head.seq - len(entries), head.hash, deadlines.now()
    rows: list[AuditEntry] = []
    for entry in entries:
        seq += 1
        row = _row(entry, seq=seq, previous=previous, at=at)
        previous = row.hash
        rows.append(row)
    AuditEntry.objects.bulk_create(rows)
    fault("audit.appended")
    AuditHead.objects.filter(pk=1).update(hash=previous)
    return rows


def _row(entry: Entry, *, seq: int, previous: str, at: datetime) -> AuditEntry:
    row = AuditEntry(
        seq=seq,
        format=FORMAT,
        at=at,
        actor=_kept(entry.actor, 150),
        action=_kept(entry.action, 60),
        target=_kept(entry.target, 120),
        origin=_kept(entry.origin, 120),
        data=_canonical(entry.data),
        previous=previous,
    )
    row.hash = seal(
        (row.format, row.seq, row.previous, row.at, row.actor, row.action, row.target, row.origin, row.data)
    )
    return row


def _kept(said: str, most: int) -> str:
    return events.text(said)[0][:most]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


Fields = tuple[int, int, str, datetime, str, str, str, str, str]
FIELDS = ("format", "seq", "previous", "at", "actor", "action", "target", "origin", "data")


def seal(fields: Fields) -> str:
    """The hash of an entry's fields, in the order of the module's docstring."""
    sealed = [*fields[:3], fields[3].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), *fields[4:]]
    return hashlib.sha256(_canonical(sealed).encode()).hexdigest()


def verify(*, kept: tuple[int, str] | None = None) -> Verified:
    """Look over the whole chain, one row after the other, in flat memory; writers may go on meanwhile.

    `kept` is a (seq, hash) that was printed earlier and held outside: it shows that the past was not rewritten.
    """
    before = _head()
    marks = dict([kept] if kept else [])
    last = Verified(0, START)
    rows = AuditEntry.objects.order_by("seq").values_list(*FIELDS, "hash")
    for row in rows.iterator(chunk_size=ROWS_AT_ONCE):
        fields, hash_ = row[:-1], row[-1]
        if why := _problem(fields, hash_, last, marks):
            return Verified(last.seq, last.hash, Bad(min(fields[1], last.seq + 1), why))
        last = Verified(fields[1], hash_)
        if before and last.seq == before[0] and last.hash != before[1]:
            return Verified(last.seq, last.hash, Bad(last.seq, "the head row has another hash for it"))
    return Verified(last.seq, last.hash, _bad_end(last, before, _head(), kept))


def _head() -> tuple[int, str] | None:
    return AuditHead.objects.filter(pk=1).values_list("seq", "hash").first()


def _problem(fields: Fields, hash_: str, last: Verified, marks: Mapping[int, str]) -> str:
    format_, seq, previous = fields[:3]
    if seq != last.seq + 1:
        return "missing" if seq > last.seq else "it has no place in the chain"
    if format_ != FORMAT:
        return f"of the unknown format {format_}"
    if seal(fields) != hash_:
        return "changed: its fields do not give its hash"
    if previous != last.hash:
        return f"does not follow entry {last.seq}"
    if marks.get(seq, hash_) != hash_:
        return "not the entry whose hash was kept"
    return ""


def _bad_end(
    last: Verified, before: tuple[int, str] | None, after: tuple[int, str] | None, kept: tuple[int, str] | None
) -> Bad | None:
    if before is None or after is None:
        return Bad(last.seq, "the head row is missing")
    least = max(before[0], kept[0] if kept else 0)
    if last.seq < least:
        return Bad(last.seq + 1, f"missing, and everything up to {least} with it")
    if last.seq > after[0] or (last.seq == after[0] and last.hash != after[1]):
        return Bad(last.seq, "the head row does not know it")
    return None


class Record:
    """What one transaction does: collected on the way, written as its last statement, announced after its commit."""

    def __init__(self, at: datetime, *, actor: str = SYSTEM, origin: str = "") -> None:
        self.at, self.actor, self.origin = at, actor, origin
        self._entries: list[Entry] = []
        self._topics: set[str] = set()

    def add(self, asked: ApprovalRequest, action: str, **data: object) -> None:
        """Note what happened to a request; its arguments go in as their hash."""
        facts = {"input_sha256": asked.input_sha256, **data}
        self._entries.append(Entry(action, f"request:{asked.pk}", actor=self.actor, origin=self.origin, data=facts))
        self.touch(asked)

    def note(self, action: str, target: str, **data: object) -> None:
        """Note what happened to something that is no request."""
        self._entries.append(Entry(action, target, actor=self.actor, origin=self.origin, data=data))

    def touch(self, asked: ApprovalRequest) -> None:
        """Announce a change of a request that needs no entry."""
        self._topics |= {announce.INBOX, announce.run_topic(asked.run_id), announce.request_topic(asked.pk)}

    def write(self) -> None:
        """The last statement of the transaction."""
        if self._topics:
            announce.changed(*self._topics)
        append_all(self._entries)
