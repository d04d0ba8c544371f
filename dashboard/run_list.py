"""The list of runs: its filter, which stands in the URL, and one page of rows in a fixed number of queries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import QueryDict

from approvals.models import ApprovalRequest, RequestStatus
from dashboard import panels, stream_health, words
from dashboard.access import Viewer
from dashboard.panels import Sight
from dashboard.words import Word
from streams.models import ENDED, GOING, Provider, Run, RunStatus

PAGE = 50
PAGES_MAX = 10_000
TEXT_MAX = 200
CONTINUED = "continued"  # outcome of a run that another one went on with: the list shows the last of them

S = RunStatus
GROUPS = (
    ("open", "Going on", GOING),
    ("waiting", "Waiting for a person", (S.WAITING,)),
    ("ended", "Ended", ENDED),
    ("bad", "Failed, lost or cut off", (S.FAILED, S.TRUNCATED, S.LOST)),
)
GROUPED = {name: statuses for name, _, statuses in GROUPS}
SINGLE = tuple((status.value, words.run(status).text) for status in S if status.value not in GROUPED)
SERIAL = re.compile(r"([0-9a-f]{4})[·.\s-]?([0-9a-f]{4})")  # a run's number, as the page shows it


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands in the list: a page that begins beside one is found at once, and no new run moves it."""

    started_at: datetime
    key: UUID

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """From the URL; None for what is none."""
        at, _, key = text.partition(",")
        try:
            made = cls(datetime.fromisoformat(at), UUID(key))
        except (ValueError, OverflowError):
            return None
        return made if made.started_at.tzinfo is not None and 1970 <= made.started_at.year < 9999 else None

    def __str__(self) -> str:
        return f"{self.started_at.isoformat()},{self.key}"

    def older(self) -> Q:
        """What stands below it."""
        here = Q(started_at__lt=self.started_at) | Q(started_at=self.started_at, pk__gt=self.key)
        return Q(started_at__lte=self.started_at) & here

    def newer(self) -> Q:
        """What stands above it."""
        here = Q(started_at__gt=self.started_at) | Q(started_at=self.started_at, pk__lt=self.key)
        return Q(started_at__gte=self.started_at) & here


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What of the runs is shown. Whatever is odd in the URL is left out."""

    provider: str = ""
    status: str = ""
    search: str = ""
    mine: bool = False
    page: int = 1
    before: "Place | None" = None
    after: "Place | None" = None

    @classmethod
    def read(cls, given: QueryDict) -> "RunFilter":
        status, number = given.get("status", ""), given.get("page", "1")
        return cls(
            provider=_short(given, "provider"),
            status=status if status in GROUPED or status in S.values else "",
            search=_short(given, "q").strip(),
            mine=given.get("mine") == "1",
            page=max(min(int(number), PAGES_MAX), 1)
            if number.isascii() and number.isdigit() and len(number) < 9
            else 1,
            before=Place.read(given.get("before", "")),
            after=Place.read(given.get("after", "")),
        )

    @property
    def active(self) -> bool:
        """Whether anything is left out by choice."""
        return bool(self.provider or self.status or self.search or self.mine)

    def query(self, page: int = 1, **places: str) -> str:
        """The filter as a query string, for one of its pages; `before` or `after` say where that begins."""
        said = {
            "provider": self.provider,
            "status": self.status,
            "q": self.search,
            "mine": "1" if self.mine else "",
            "page": str(page) if page > 1 else "",
            **(places if page > 1 else {}),
        }
        return urlencode({name: value for name, value in said.items() if value})


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in the list."""

    run: Run
    word: Word
    pending: int
    vendor: str
    connection: Word | None  # of its stream; None once the run is over


@dataclass(frozen=True, slots=True)
class RunList:
    """One page, newest first."""

    filter: RunFilter
    rows: Sequence[RunRow]
    more: bool
    providers: Sequence[str]

    @property
    def newer(self) -> str:
        """The query of the page before; the first page is always the newest."""
        beside = {"after": str(_place(self.rows[0].run))} if self.rows else {}
        return self.filter.query(self.filter.page - 1, **beside) or "page=1"

    @property
    def older(self) -> str:
        return self.filter.query(self.filter.page + 1, before=str(_place(self.rows[-1].run)))


def _place(run: Run) -> Place:
    return Place(run.started_at, run.pk)


def page(seen: Sight, chosen: RunFilter, *, by: Viewer) -> RunList:
    """One page of the list: a fixed number of queries, however many runs there are."""
    providers = list(Provider.objects.values_list("pk", "name"))
    found = _matching(seen, chosen, by, {name: pk for pk, name in providers})
    keys, more = _keys(found, chosen)
    runs = seen.runs.select_related("provider", "lease", "started_by").defer("task", "options", "error").in_bulk(keys)
    asked = _pending(seen).filter(run__in=keys).order_by().values_list("run", flat=True)
    pending = list(asked)
    return RunList(
        filter=chosen,
        rows=[_row(runs[key], pending.count(key)) for key in keys if key in runs],
        more=more,
        providers=[name for _, name in providers],
    )


def _keys(found: QuerySet[Run], chosen: RunFilter) -> tuple[list[UUID], bool]:
    """The page's ids in order, and whether there are older ones. Ids alone: what is sorted or skipped is small."""
    ids = found.values_list("pk", flat=True)
    if chosen.page > 1 and chosen.after:
        above = list(ids.filter(chosen.after.newer()).order_by("started_at", "-pk")[:PAGE])
        return above[::-1], True
    start = 0
    if chosen.page > 1 and chosen.before:
        ids = ids.filter(chosen.before.older())
    else:
        start = (chosen.page - 1) * PAGE
    keys = list(ids.order_by("-started_at", "pk")[start : start + PAGE + 1])
    return keys[:PAGE], len(keys) > PAGE


def _row(run: Run, pending: int) -> RunRow:
    return RunRow(
        run=run,
        word=words.run(run.status),
        pending=pending,
        vendor=panels.provider_label(run.provider.kind),
        connection=stream_health.connection(run),
    )


def _matching(seen: Sight, chosen: RunFilter, by: Viewer, providers: dict[str, UUID]) -> QuerySet[Run]:
    found = seen.runs.exclude(outcome=CONTINUED) if not chosen.search else seen.runs
    if chosen.provider:
        known = providers.get(chosen.provider)
        found = found.filter(provider=known) if known else found.none()
    if chosen.status == "waiting":
        found = found.filter(Q(status=S.WAITING) | Q(pk__in=_pending(seen).values("run")))
    elif chosen.status:
        found = found.filter(status__in=GROUPED.get(chosen.status, (chosen.status,)))
    if chosen.mine:
        found = found.filter(started_by=by.pk)
    if not chosen.search:
        return found
    named = found.filter(_named(chosen.search, list(providers.values())))  # by an index, before every text is read
    return named if named.exists() else found.filter(_said(chosen.search))


def _pending(seen: Sight) -> QuerySet[ApprovalRequest]:
    return seen.requests.filter(status=RequestStatus.PENDING)


def _named(text: str, providers: Sequence[UUID]) -> Q:
    """A run's own name, whole: the provider's id of it, or ours, or the number that the page shows."""
    named = Q(provider__in=providers, external_id=text)
    if number := SERIAL.fullmatch(text.lower()):
        first = number[1] + number[2]
        named |= Q(pk__gte=UUID(first + "0" * 24), pk__lte=UUID(first + "f" * 24))
    try:
        return named | Q(pk=UUID(text))
    except ValueError:
        return named


def _said(text: str) -> Q:
    """Where a text may stand: title, task, thread, the provider's id."""
    said = Q(title__icontains=text) | Q(external_id__icontains=text) | Q(thread_id__icontains=text)
    return said | Q(task__icontains=text)


def _short(given: QueryDict, name: str) -> str:
    """A filter's text: without NUL, which no database takes."""
    return str(given.get(name, ""))[:TEXT_MAX].replace("\x00", "")
