"""The context of each fragment of the inbox and the rail, shared by page and socket."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, IntegerField, Prefetch, Q, QuerySet, Value, When

from approvals.batches import newest
from approvals.models import ApprovalRequest, Decision, Delivery, DeliveryState, Ran, RequestStatus, Tier
from dashboard import access, reading, words
from dashboard.access import Viewer
from dashboard.forms import InboxFilter
from dashboard.reading import Reading
from dashboard.words import Word
from streams import providers
from streams.models import GOING, Provider, Run

S = RequestStatus
WAITING = (S.PENDING, S.UNKNOWN)  # what a person must look at
ROWS_MAX = 200
DECIDED_ROWS = 50
GROUPS = (("tq", "Not known"), ("t3", "Cannot be undone"), ("t2", "Hard to undo"), ("t1", "Easy to undo"))


def live_decisions() -> "Prefetch[Any, Any, Any]":  # the stubs' class is generic, Django's own is not
    """The decision that counts of each request, with who made it."""
    rows = Decision.objects.filter(undone_at=None).select_related("by")
    return Prefetch("decisions", rows, to_attr="live_decisions")


def live_deliveries() -> QuerySet[Delivery]:
    return Delivery.objects.exclude(state=DeliveryState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see; rooms see everything and are entered only by who may."""

    runs: QuerySet[Run]
    requests: QuerySet[ApprovalRequest]


def sight(user: Viewer) -> Sight:
    """What this person may see."""
    return Sight(access.visible_runs(user), access.visible_requests(user))


def whole() -> Sight:
    """Everything there is."""
    return Sight(Run.objects.all(), ApprovalRequest.objects.all())


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of the rail."""

    waiting: int
    runs: int


def counts(seen: Sight) -> Counts:
    """How much waits for a person, and how many runs are going on."""
    return Counts(
        seen.requests.filter(status__in=WAITING).count(),
        seen.runs.filter(status__in=GOING).count(),
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One request in the queue."""

    id: UUID
    tool: str
    provider: str
    kind: str
    run: str
    reading: Reading
    glyph: str
    status: str
    word: Word
    requested_at: datetime
    changed_at: datetime
    deadline: datetime | None
    decision: Decision | None
    group: str
    rev: str
    batch: str = ""
    ended_why: str = ""
    ran_otherwise: bool = False  # not with the arguments that were approved

    @property
    def waits(self) -> bool:
        return self.status in WAITING

    @property
    def mark(self) -> str:
        """The icon of what was decided, or of what became of it."""
        return words.verdict(self.decision.verdict).icon if self.decision else self.word.icon

    @property
    def given(self) -> str:
        """approved, rejected, or nothing."""
        return words.verdict(self.decision.verdict).text.lower() if self.decision else ""


@dataclass(frozen=True, slots=True)
class Group:
    glyph: str
    name: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Inbox:
    """The queue as one filter shows it."""

    filter: InboxFilter
    groups: Sequence[Group]
    shown: int
    total: int
    waiting: int  # under the same filter, whatever the tab
    providers: Sequence[str] = ()
    tools: Sequence[str] = ()

    @property
    def waiting_query(self) -> str:
        return self.filter.query(tab="waiting")

    @property
    def decided_query(self) -> str:
        return self.filter.query(tab="decided")

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]


def glyph(asked: ApprovalRequest) -> str:
    """Which form stands for it: its tier, or that nobody knows what came of it."""
    return "tq" if asked.status == S.UNKNOWN else asked.tier.lower()


def rev(asked: ApprovalRequest, decision: Decision | None, delivery: Delivery | None) -> str:
    """Changes whenever what the stub says changes."""
    parts = [asked.status, asked.input_sha256[:8], decision.pk.hex[:8] if decision else "-"]
    if delivery is not None:
        parts += [delivery.state, str(delivery.attempts)]
    if asked.ran:
        parts.append(asked.ran)
    return ".".join(parts)


def waiting_rows(seen: Sight, chosen: InboxFilter) -> QuerySet[ApprovalRequest]:
    """What waits, riskiest first, inside by the time that is left."""
    first = Case(
        When(status=S.UNKNOWN, then=Value(0)),
        When(tier=Tier.T3, then=Value(1)),
        When(tier=Tier.T2, then=Value(2)),
        default=Value(3),
        output_field=IntegerField(),
    )
    found = _matching(seen.requests.filter(status__in=WAITING), chosen)
    return found.order_by(first, F("deadline").asc(nulls_last=True), "requested_at", "pk")


def decided_rows(seen: Sight, chosen: InboxFilter) -> QuerySet[ApprovalRequest]:
    """What waits no longer, newest first."""
    found = _matching(seen.requests.exclude(status=S.PENDING), chosen)
    if chosen.status:
        found = found.filter(status=chosen.status)
    return found.order_by("-status_changed_at", "pk")


def _matching(rows: QuerySet[ApprovalRequest], chosen: InboxFilter) -> QuerySet[ApprovalRequest]:
    if chosen.provider:
        rows = rows.filter(run__provider__name=chosen.provider)
    if chosen.tool:
        rows = rows.filter(tool=chosen.tool)
    if chosen.search:
        said = chosen.search
        rows = rows.filter(
            Q(tool__icontains=said)
            | Q(arguments__icontains=said)
            | Q(run__title__icontains=said)
            | Q(run__provider__name__icontains=said)
        )
    return rows


def inbox(seen: Sight, chosen: InboxFilter, *, choices: bool = True) -> Inbox:
    """The queue: at most so many rows, in a fixed number of queries."""
    waiting = waiting_rows(seen, chosen)
    total = waiting.count()
    if chosen.tab == "decided":
        found = list(with_parts(decided_rows(seen, chosen))[:DECIDED_ROWS])
        groups = [Group("", "", rows(found))] if found else []
    else:
        found = list(with_parts(waiting)[:ROWS_MAX])
        made = rows(found)
        parts = [Group(sign, name, [row for row in made if row.group == sign]) for sign, name in GROUPS]
        groups = [group for group in parts if group.rows]
    return Inbox(
        filter=chosen,
        groups=groups,
        shown=len(found),
        total=total if chosen.tab == "waiting" else len(found),
        waiting=total,
        providers=list(Provider.objects.values_list("name", flat=True)) if choices else (),
        tools=_tools(seen) if choices else (),
    )


def _tools(seen: Sight) -> list[str]:
    """Names of tools to choose from: of the newest requests."""
    newest = seen.requests.order_by("-requested_at").values_list("tool", flat=True)[:500]
    return sorted(set(newest))[:60]


CHANGED_ROWS = 40


@dataclass(frozen=True, slots=True)
class News:
    """What of the queue moves by itself: who waits, how many, and the states of what changed last."""

    waiting: Sequence[tuple[UUID, str]]  # with its glyph, in order
    total: int
    changed: Sequence[Row]


def news(seen: Sight, chosen: InboxFilter) -> News:
    """The moving parts of a queue, without its arguments."""
    found = waiting_rows(seen, chosen)
    waiting = list(found.values_list("pk", "status", "tier")[: ROWS_MAX + 1])
    newest = list(seen.requests.order_by("-status_changed_at").values_list("pk", "batch_id")[:CHANGED_ROWS])
    batches = {batch for _, batch in newest if batch}
    rows_changed = seen.requests.filter(Q(pk__in=[pk for pk, _ in newest]) | Q(batch__in=batches))
    light = with_parts(rows_changed.defer("arguments", "answer_schema", "message"))
    return News(
        [(pk, "tq" if status == S.UNKNOWN else tier.lower()) for pk, status, tier in waiting],
        found.count() if len(waiting) > ROWS_MAX else len(waiting),
        rows(list(light), read=False),
    )


def with_parts(found: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
    """Requests with everything that rows() reads, in a fixed number of queries."""
    return found.select_related("run__provider", "batch").prefetch_related(
        live_decisions(),
        Prefetch("live_decisions__deliveries", live_deliveries(), to_attr="live_deliveries"),
        Prefetch("batch__deliveries", live_deliveries(), to_attr="live_deliveries"),
    )


def rows(found: Sequence[ApprovalRequest], *, read: bool = True) -> list[Row]:
    """The rows of requests that came through with_parts(); without reading their arguments where nobody shows them."""
    decided = _decided_in({asked.batch_id for asked in found if asked.batch_id})
    return [_row(asked, decided, read) for asked in found]


def decision_of(asked: ApprovalRequest) -> Decision | None:
    """The live decision of a request that came through with_parts()."""
    return next(iter(asked.live_decisions), None)  # type: ignore[attr-defined]


def delivery_of(asked: ApprovalRequest) -> Delivery | None:
    """What carries the answer to a request that came through with_parts()."""
    carried: Any = asked.batch or decision_of(asked)
    return next(iter(carried.live_deliveries), None) if carried else None


def _decided_in(batches: set[UUID | None]) -> dict[UUID, tuple[int, int]]:
    """How many of how many members of each batch are answered."""
    made: dict[UUID, tuple[int, int]] = {}
    if not batches:
        return made
    members = newest(ApprovalRequest.objects.filter(batch__in=batches))
    for batch_id, status in members.values_list("batch_id", "status"):
        if batch_id is not None:
            answered, total = made.get(batch_id, (0, 0))
            made[batch_id] = (answered + (status != S.PENDING), total + 1)
    return made


def _row(asked: ApprovalRequest, decided: dict[UUID, tuple[int, int]], read: bool) -> Row:
    decision = decision_of(asked)
    answered, total = decided.get(asked.batch_id, (0, 1)) if asked.batch_id else (0, 1)
    sign = glyph(asked)
    return Row(
        id=asked.pk,
        tool=asked.tool,
        provider=asked.run.provider.name,
        kind=provider_label(asked.run.provider.kind),
        run=str(asked.run),
        reading=reading.read(asked.tool, asked.arguments) if read else reading.unknown(asked.tool),
        glyph=sign,
        status=asked.status,
        word=words.asked(asked),
        requested_at=asked.requested_at,
        changed_at=asked.status_changed_at,
        deadline=asked.deadline,
        decision=decision,
        group=sign if sign in ("tq", "t3", "t2") else "t1",
        rev=rev(asked, decision, delivery_of(asked)),
        batch=f"{answered} of {total} decided" if total > 1 else "",
        ended_why=asked.ended_why,
        ran_otherwise=asked.ran == Ran.OTHERWISE,
    )


def provider_label(kind: str) -> str:
    """The vendor's name on screen."""
    try:
        return providers.get(kind).label
    except LookupError:
        return kind


def anything_connected() -> bool:
    """Whether there is a provider at all: without one the inbox says how to begin."""
    return Provider.objects.exists()


def active_runs(seen: Sight) -> list[Run]:
    """A few runs that go on, for an inbox in which nothing waits."""
    going = seen.runs.filter(status__in=GOING).select_related("provider")
    return list(going.order_by("-started_at")[:5])
