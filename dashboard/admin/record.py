"""One part of a run's record: its events by their numbers, each in a word of ours, its text cut, its hash whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Case, CharField, F, Q, QuerySet, When
from django.db.models.functions import Length, Substr

from approvals.models import ApprovalRequest
from dashboard import timeline
from streams import inert, jsontext, providers
from streams.models import Event, Run, Source
from streams.providers.base import Provider as Adapter

EVENTS = 100  # of one page
READ_MAX_CHARS = 16 * 1024  # a longer payload is shown, not understood
SHOWN_CHARS = 2_000
ALARMS = (
    "other_arguments",
    "other_dialect",
    "gap",
    "divergence",
    "truncated",
    "lost",
    "stalled",
    "oversize",
    "misconfigured",
    "credential",
)
ALARMS_SHOWN = 20
LINES = 3
WHAT = {
    "text": "Text",
    "reasoning": "Reasoning",
    "tool": "Tool call",
    "arguments": "Arguments of a call",
    "result": "Result",
    "ask": "Asks",
    "state": "State",
    "step": "Step",
    "start": "The provider begins",
    "end": "The provider ends",
    "note": "Event",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What an event says: a word of ours and a name of theirs (hostile)."""

    word: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One event."""

    pk: int
    seq: int
    at: datetime
    house: bool
    kind: str  # theirs, on one line
    said: Sequence[Said]
    tone: str
    ordinal: int | None
    own_id: str
    marked: bool
    sha256: str
    text: str  # the beginning of the payload
    missing: int  # characters after it
    request: UUID | None = None  # the request that it opened


@dataclass(frozen=True, slots=True)
class Alarm:
    """A remark of ours that an auditor looks for first."""

    seq: int
    title: str
    tone: str


@dataclass(frozen=True, slots=True)
class Record:
    """A page of events, and where the others are."""

    rows: Sequence[Row]
    total: int
    alarms: Sequence[Alarm]
    more_alarms: bool

    @property
    def first(self) -> int:
        return self.rows[0].seq if self.rows else 0

    @property
    def last(self) -> int:
        return self.rows[-1].seq if self.rows else 0

    @property
    def earlier(self) -> bool:
        return self.first > 1

    @property
    def later(self) -> bool:
        return 0 < self.last < self.total


def read(run: Run, asked: Mapping[str, str]) -> Record:
    """The page that `at`, `before` or `after` name, else the newest events."""
    rows = Event.objects.filter(run=run).order_by("seq")
    total = rows.order_by("-seq").values_list("seq", flat=True).first() or 0
    house = rows.filter(source=Source.HOUSE, kind__in=ALARMS).values_list("seq", "kind")
    alarms = [Alarm(seq, timeline.HOUSE.get(kind, kind), _tone(kind)) for seq, kind in house[: ALARMS_SHOWN + 1]]
    page = _page(rows, asked, total)
    return Record(_rows(run, page), total, alarms[:ALARMS_SHOWN], len(alarms) > ALARMS_SHOWN)


def _page(rows: "QuerySet[Event]", asked: Mapping[str, str], total: int) -> "QuerySet[Event]":
    """By the numbers alone, which have no gaps: the same effort at any place of a long run."""
    at, before, after = (_number(asked.get(name, "")) for name in ("at", "before", "after"))
    if at is not None:
        start = max(min(at, total) - EVENTS // 4, 1)
    elif after is not None:
        start = after + 1
    else:
        start = max(min(before or total + 1, total + 1) - EVENTS, 1)
    end = start + EVENTS if before is None else min(start + EVENTS, before)
    return rows.filter(seq__gte=start, seq__lt=end)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def _rows(run: Run, page: "QuerySet[Event]") -> list[Row]:
    size = Length("payload")
    read = Case(
        When(Q(size__lte=READ_MAX_CHARS), then=F("payload")),
        default=Substr("payload", 1, SHOWN_CHARS),
        output_field=CharField(),
    )
    found = list(
        page.annotate(size=size)
        .annotate(read=read)
        .values_list(
            "pk", "seq", "received_at", "source", "kind", "ordinal", "own_id", "marked", "sha256", "size", "read"
        )
    )
    seqs = [row[1] for row in found]
    opened = ApprovalRequest.objects.filter(run=run, opened_by_seq__in=seqs).order_by("version")
    requests = dict(opened.values_list("opened_by_seq", "pk"))
    try:
        adapter = providers.get(run.provider.kind)
    except LookupError:
        adapter = None
    made = []
    for pk, seq, at, source, kind, ordinal, own_id, marked, sha256, length, text in found:
        house = source == Source.HOUSE
        made.append(
            Row(
                pk=pk,
                seq=seq,
                at=at,
                house=house,
                kind=inert.one_line(kind, 60),
                said=_house(kind, text) if house else _said(adapter, kind, text) if length <= READ_MAX_CHARS else (),
                tone=_tone(kind) if house else "",
                ordinal=ordinal,
                own_id=own_id,
                marked=marked,
                sha256=sha256,
                text=text[:SHOWN_CHARS],
                missing=max(length - SHOWN_CHARS, 0),
                request=requests.get(seq),
            )
        )
    return made


def _tone(kind: str) -> str:
    return timeline.tone(kind)


def _house(kind: str, payload: str) -> Sequence[Said]:
    try:
        found = jsontext.parse(payload)
    except (ValueError, RecursionError):
        found = None
    text = found.get("text") if isinstance(found, dict) else None
    return (Said(timeline.HOUSE.get(kind, "Note"), text[:300] if isinstance(text, str) else ""),)


def _said(adapter: Adapter | None, kind: str, payload: str) -> Sequence[Said]:
    if adapter is None:
        return ()
    lines = adapter.lines(kind, payload)
    return tuple(Said(WHAT.get(line.what, "Event"), line.label[:120]) for line in lines[:LINES])
