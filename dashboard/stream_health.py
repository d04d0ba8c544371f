"""How the streams are: which are connected, since when and by whom, how far behind we store, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from dashboard import panels
from dashboard.panels import Sight
from dashboard.words import Tone, Word
from streams import candidates, providers
from streams.models import GOING, HolderProcess, Provider, Run, RunStatus

PAGE = 100
APART = timedelta(minutes=1)  # without a connection, before somebody should look
SLOW_MS = 1_000
BACKLOG = 5_000  # events read and not stored
RECENT = timedelta(days=1)

CONNECTED = Word("Connected", "check", "ok", "Its stream is open.")
QUEUED = Word("Queued", "clock", "", "Not opened yet.")
CLOSED = Word("Closed for now", "pause", "", "It waits for a person; the answer opens a new stream.")
READ = Word("Read now and then", "eye", "", "Its provider closed the stream while it waits; the run itself is read.")
RESTS = Word("Between two connections", "plug", "doubt", "Not connected at this moment; its holder tries again.")
NOBODY = Word("Held by nobody", "q", "doubt", "No process holds it at this moment.")
PAUSED = Word("Provider paused", "pause", "off", "Its provider was paused by somebody.")
REFUSED = Word(
    "Secret refused", "ban", "stop", "Its provider refuses the secret; nothing is sent until there is a new one."
)


def connection(run: Run) -> Word | None:
    """How a run's stream is now, in one word; None once it is over. Wants `provider` and `lease` selected."""
    if run.status not in GOING:
        return None
    if run.connected_at is not None:
        return CONNECTED
    if run.status == RunStatus.QUEUED:
        return QUEUED
    if run.status == RunStatus.WAITING and run.provider.kind in once():
        return CLOSED
    if run.provider.credential_refused_at:
        return REFUSED
    if run.provider.paused:
        return PAUSED
    if not _is_held(run):
        return NOBODY
    return READ if run.status == RunStatus.WAITING and run.provider.kind in read_back() else RESTS


def once() -> list[str]:
    """The kinds whose streams cannot be joined again: a waiting run of theirs has none, rightly."""
    return [kind for kind, adapter in providers.REGISTRY.items() if adapter.capabilities.replay == "none"]


def read_back() -> list[str]:
    """The kinds whose runs can be read beside the stream: while one waits, its provider may close that."""
    return [kind for kind, adapter in providers.REGISTRY.items() if adapter.capabilities.read_back]


def _is_held(run: Run) -> bool:
    lease = getattr(run, "lease", None)
    return bool(lease is not None and lease.owner and lease.expires_at > timezone.now())


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should do something about."""

    tone: Tone
    what: str
    do: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """The streams of one provider."""

    row: Provider
    vendor: str
    open: int
    connected: int
    apart: int  # should be connected, and is not
    reconnects: int
    last_event_at: datetime | None
    quietest_at: datetime | None  # the oldest "last event" of those that are connected and not waiting


@dataclass(frozen=True, slots=True)
class Stream:
    """One run that is going on."""

    run: Run
    word: Word
    owner: str
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """The whole page."""

    alerts: Sequence[Alert]
    accounts: Sequence[Account]
    processes: Sequence[HolderProcess]
    streams: Sequence[Stream]
    more: int
    chosen: str
    only_apart: bool


def health(seen: Sight, *, provider: str = "", only_apart: bool = False) -> Health:
    """Everything, in a fixed number of queries; of the runs only one provider's, or only those not connected."""
    going = seen.runs.filter(status__in=GOING)
    accounts = _accounts(going)
    processes = list(
        HolderProcess.objects.filter(seen_at__gt=Now() - timedelta(seconds=settings.LEASE_TTL_S)).order_by("started_at")
    )
    rows = going.select_related("provider", "lease").defer("task", "options", "error")
    if provider:
        rows = rows.filter(provider__name=provider)
    if only_apart:
        rows = rows.filter(_apart())
    found = list(rows.order_by("connected_at", "started_at", "pk")[: PAGE + 1])
    more = rows.count() - PAGE if len(found) > PAGE else 0
    return Health(
        alerts=_alerts(seen, going, accounts, processes),
        accounts=accounts,
        processes=processes,
        streams=[_stream(run) for run in found[:PAGE]],
        more=more,
        chosen=provider,
        only_apart=only_apart,
    )


def _apart() -> Q:
    """Runs whose stream should be open and is not."""
    rightly = Q(status=RunStatus.QUEUED) | Q(status=RunStatus.WAITING, provider__kind__in=[*once(), *read_back()])
    return Q(connected_at=None) & ~rightly


def _stream(run: Run) -> Stream:
    lease = getattr(run, "lease", None)
    return Stream(
        run=run,
        word=connection(run) or QUEUED,
        owner=process_name(lease.owner) if lease and _is_held(run) else "",
        epoch=lease.epoch if lease else None,
    )


def process_name(owner: str) -> str:
    """Host and pid of an owner; the rest of the name only makes it one of a kind."""
    return ":".join(owner.split(":")[:2])


def _accounts(going: QuerySet[Run]) -> list[Account]:
    streaming = Q(connected_at__isnull=False) & ~Q(status=RunStatus.WAITING)
    numbers: dict[UUID, tuple[int, int, int, int, datetime | None, datetime | None]] = {
        pk: (count, connected, apart, again, last, quietest)
        for pk, count, connected, apart, again, last, quietest in going.order_by()
        .values_list("provider")
        .annotate(
            open=Count("pk"),
            connected=Count("pk", filter=Q(connected_at__isnull=False)),
            apart=Count("pk", filter=_apart()),
            again=Sum("reconnects"),
            last=Max("last_event_at"),
            quietest=Min("last_event_at", filter=streaming),
        )
    }
    none = (0, 0, 0, 0, None, None)
    return [
        Account(row, panels.provider_label(row.kind), *numbers.get(row.pk, none))
        for row in Provider.objects.order_by("name")
    ]


# --- what to do -------------------------------------------------------------------------------------------------------


def _alerts(
    seen: Sight, going: QuerySet[Run], accounts: Sequence[Account], processes: Sequence[HolderProcess]
) -> list[Alert]:
    """The gravest first."""
    return [
        *_of_processes(processes, wanted=any(one.open for one in accounts)),
        *_of_accounts(accounts),
        *_of_streams(seen, going),
    ]


def _of_processes(processes: Sequence[HolderProcess], *, wanted: bool) -> list[Alert]:
    if not processes:
        return [
            Alert(
                "stop" if wanted else "look",
                "No process holds streams.",
                "Start one: manage.py serve, or manage.py hold beside the web processes. Nothing arrives until then.",
            )
        ]
    made = []
    if sum(one.streams for one in processes) >= sum(one.slots for one in processes):
        made.append(Alert("stop", "Every slot is taken.", "Further runs wait. Start one more manage.py hold."))
    for one in processes:
        if one.lag_ms >= SLOW_MS or one.queued >= BACKLOG:
            made.append(
                Alert(
                    "look",
                    f"{process_name(one.owner)} stores with a delay of {one.lag_ms / 1000:.1f} s, "
                    f"{one.queued} events wait.",
                    "The database is slower than the streams. Nothing is lost: reading goes on as fast as it is stored."
                    " Look at the database's disk, or share the streams among more processes.",
                )
            )
    return made


def _of_accounts(accounts: Sequence[Account]) -> list[Alert]:
    made = []
    for one in accounts:
        url = reverse("settings-provider", args=[one.row.name])
        if one.row.credential_refused_at and one.open:
            what = f"{one.row.name} refuses the secret we have."
            made.append(Alert("stop", what, "Give it a new one; its streams go on by themselves within seconds.", url))
        elif one.row.paused and one.open:
            what = f"{one.row.name} is paused, with {one.open} {_runs(one.open)} going on."
            made.append(Alert("look", what, "Resume it when its streams are to be held again.", url))
    return made


def _of_streams(seen: Sight, going: QuerySet[Run]) -> list[Alert]:
    made = []
    usable = Q(provider__paused=False, provider__credential_refused_at=None)
    long_ago = timezone.now() - APART
    since = Q(last_event_at__lt=long_ago) | Q(last_event_at=None, status_changed_at__lt=long_ago)
    if apart := going.filter(_apart() & usable & since).count():
        made.append(
            Alert(
                "look",
                f"{apart} {_runs(apart)} without a connection for more than a minute.",
                "Their holders try again with growing pauses. If it stays so, check the connection in the settings of "
                "the provider.",
                f"{reverse('streams')}?apart=1",
            )
        )
    ended = seen.runs.filter(status__in=(RunStatus.LOST, RunStatus.TRUNCATED), ended_at__gt=timezone.now() - RECENT)
    joined = Q(status=RunStatus.LOST, external_id__isnull=False, provider__kind__in=candidates.joined())
    found = ended.aggregate(all=Count("pk"), joined=Count("pk", filter=joined))
    if lost := found["all"]:
        made.append(
            Alert(
                "look",
                f"{lost} {_runs(lost)} ended without a word since yesterday.",
                f"What they asked last may be missing here: check at the provider.{_again(found['joined'])}",
                f"{reverse('runs')}?status=bad",
            )
        )
    return made


def _again(count: int) -> str:
    """What whoever may start runs can do about lost ones."""
    return f" For {count} of them, the run's page has a button that asks the provider again." if count else ""


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
