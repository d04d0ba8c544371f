"""A run's page: its timeline read from the stored events, its stream's health, what it asks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When
from django.db.models.functions import Length
from django.utils import timezone

from approvals.models import Ran, RequestStatus
from dashboard import panels, stream_health, words
from dashboard.panels import Row, Sight
from dashboard.timeline import Entry, Timeline
from dashboard.words import Word
from streams import providers, tail
from streams import runs as following
from streams.events import Line
from streams.models import ENDED, Event, Lease, Run, RunStatus, Source
from streams.tail import Told

WINDOW_EVENTS = 2_000  # read for one page
ENTRIES = 200  # shown of them
READ_MAX_BYTES = 64 * 1024  # a larger event is named, not read
BEFORE_EVENTS = 400
HOUSE_COUNTED = ("gap", "divergence", "stalled", "other_arguments", "other_dialect")


def timeline(run: Run) -> Timeline:
    """An empty timeline that reads this run's provider."""
    try:
        adapter = providers.get(run.provider.kind)
    except LookupError:
        return Timeline(lambda kind, payload: (Line("note", payload[:2_000], label=kind),))
    return Timeline(adapter.lines)


def told(rows: QuerySet[Event]) -> list[Told]:
    """Stored events as the timeline takes them; the text of a very large one stays where it is."""
    size = Length("payload")
    small = Case(When(Q(size__lte=READ_MAX_BYTES), then=F("payload")), default=Value(""), output_field=CharField())
    found = rows.annotate(size=size).annotate(small=small)
    fields = ("seq", "source", "kind", "small", "received_at", "ordinal", "marked", "size")
    return [
        Told(seq, source, kind, text, at, ordinal, marked, left_out=length if length > READ_MAX_BYTES else 0)
        for seq, source, kind, text, at, ordinal, marked, length in found.values_list(*fields)
    ]


def window(run: Run, *, before: int | None = None, entries: int = ENTRIES) -> tuple[Timeline, int | None]:
    """The newest entries (before a seq), and the seq before which there are earlier ones."""
    rows = Event.objects.filter(run=run)
    if before is not None:
        rows = rows.filter(seq__lt=before)
    seqs = list(rows.order_by("-seq").values_list("seq", flat=True)[:WINDOW_EVENTS])
    made = timeline(run)
    if not seqs:
        return made, None
    first = made.start = seqs[-1]
    made.feed(told(rows.filter(seq__gte=first).order_by("seq")))
    made.trim(entries)
    oldest = made.entries[0].first if made.entries else first
    earlier = oldest if len(made.entries) >= entries or first > 1 else None
    return made, earlier if earlier and earlier > 1 else None


def since(made: Timeline, run_id: UUID) -> list[Entry]:
    """Read what came after; returns the entries that are new or have changed."""
    touched: dict[tuple[int, int], Entry] = {}
    while True:
        found = tail.after(run_id, made.seq, most=WINDOW_EVENTS, read_most=READ_MAX_BYTES)
        touched |= {entry.place: entry for entry in made.feed(found)}
        if len(found) < WINDOW_EVENTS:
            return [touched[place] for place in sorted(touched)]


def before(run: Run, seq: int) -> list[Entry]:
    """The entries that led to an event."""
    made = timeline(run)
    rows = Event.objects.filter(run=run, seq__lte=seq, seq__gt=seq - BEFORE_EVENTS)
    made.feed(told(rows.order_by("seq")))
    return made.entries


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry with the request it is about, if it asks."""

    entry: Entry
    asked: Row | None = None


def shown(entries: Iterable[Entry], asked: Mapping[str, Row]) -> list[Shown]:
    return [Shown(entry, asked.get(entry.key) if entry.what == "ask" else None) for entry in entries]


@dataclass(slots=True)
class Panel:
    """Everything around a run's timeline."""

    run: Run
    word: Word
    lease: Lease | None
    requests: Sequence[Row]
    gaps: int = 0
    divergences: int = 0
    stalls: int = 0
    other_dialects: int = 0
    other_arguments: int = 0  # calls that ran with others than were approved: shown here, or asked here
    events: int = 0
    holds: str = ""
    replay: str = ""
    by_call: Mapping[str, Row] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.run.status in ENDED

    @property
    def could_be_asked_for(self) -> bool:
        """Whether its provider can be asked for it again once it is lost; a page that stands open may see that come."""
        return (not self.ended or self.run.status == RunStatus.LOST) and following.can_be_joined(self.run)

    @property
    def connection(self) -> Word | None:
        return stream_health.connection(self.run)

    @property
    def listening(self) -> bool:
        return self.run.connected_at is not None and not self.ended

    @property
    def silent_since(self) -> datetime | None:
        return self.run.last_event_at or self.run.connected_at

    @property
    def pending(self) -> int:
        return sum(row.status == RequestStatus.PENDING for row in self.requests)

    @property
    def vendor(self) -> str:
        return panels.provider_label(self.run.provider.kind)


REPLAYS = {
    "full": "from the beginning",
    "tail": "only what is new",
    "none": "none: a stream cannot be joined again",
    "unknown": "found out at each reconnect",
}


def panel(seen: Sight, run_id: UUID) -> Panel:
    """The run's head, health and questions, in a fixed number of queries. Raises Run.DoesNotExist."""
    run = seen.runs.select_related("provider", "lease", "continues", "continued_by", "started_by").get(pk=run_id)
    house = dict(
        # The house's remarks have no place on the stream: the index on places finds them among any number of events.
        Event.objects.filter(run=run, ordinal=None, source=Source.HOUSE, kind__in=HOUSE_COUNTED)
        .order_by()
        .values_list("kind")
        .annotate(count=Count("seq"))
    )
    asked = list(panels.with_parts(seen.requests.filter(run=run)).order_by("requested_at", "pk")[:100])
    rows = panels.rows(asked)
    try:
        replay = REPLAYS[providers.get(run.provider.kind).capabilities.replay]
    except LookupError:
        replay = "not known"
    lease = getattr(run, "lease", None)
    held = lease is not None and lease.owner and lease.expires_at > timezone.now()
    return Panel(
        run=run,
        word=words.run(run.status),
        lease=lease,
        requests=rows,
        gaps=house.get("gap", 0),
        divergences=house.get("divergence", 0),
        stalls=house.get("stalled", 0),
        other_dialects=house.get("other_dialect", 0),
        other_arguments=max(house.get("other_arguments", 0), sum(one.ran == Ran.OTHERWISE for one in asked)),
        events=Event.objects.filter(run=run).order_by("-seq").values_list("seq", flat=True).first() or 0,
        holds=lease.owner if held and lease else "",
        replay=replay,
        by_call={one.call_id: row for one, row in zip(asked, rows, strict=True)},
    )
