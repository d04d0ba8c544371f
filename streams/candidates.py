"""Which runs want a holder, and which of those that have one could as well have another."""

from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from streams import leases, providers
from streams.models import ENDED, Event, Provider, Run, RunStatus, Source

Busy = Callable[[Collection[UUID]], set[UUID]]  # of these runs the ones whose answer is on its way

START_S = 90.0  # a start is answered or lost by then


def paused_providers() -> set[UUID]:
    """Providers whose streams are to be let go."""
    return set(Provider.objects.filter(paused=True).values_list("pk", flat=True))


def starting(run_ids: Collection[UUID]) -> set[UUID]:
    """Runs of these whose start was let out, and its answer is not there yet."""
    let_out = Run.objects.filter(pk__in=run_ids, opened_at__isnull=False, external_id=None).exclude(status__in=ENDED)
    return set(let_out.values_list("pk", flat=True))


def find(resting: set[UUID], most: int) -> dict[UUID, UUID | None]:
    """Runs that want a holder and whose lease is free, oldest first: run -> provider, if a pause may cut it."""
    once = _once()
    serves = Q(provider__paused=False, provider__credential_refused_at=None)
    wants = (
        Q(provider__kind__in=joined()) & serves
        | Q(provider__kind__in=once, status=RunStatus.QUEUED, opened_at=None) & serves
        # Opened by a process that is gone: nothing to send, only to say so.
        | Q(provider__kind__in=once, opened_at__isnull=False) & ~Q(status=RunStatus.WAITING)
    )
    runs = Run.objects.exclude(status__in=ENDED).exclude(_may_be_ours()).filter(wants).filter(leases.free())
    found = runs.order_by("started_at").values_list("pk", "provider_id", "provider__kind")[: most + len(resting)]
    due = [(run_id, None if kind in once else provider_id) for run_id, provider_id, kind in found]
    return dict([one for one in due if one[0] not in resting][:most])


def movable(owner: str, stay: Collection[UUID], most: int, busy: Busy) -> list[UUID]:
    """Runs of this owner that another process can go on with, the quietest first; none of `stay`, none that is `busy`.

    Not a stream that cannot be joined again, not one whose start is under way, not one that is known to lose what its
    provider says between two connections.
    """
    mine = Run.objects.filter(lease__owner=owner, lease__expires_at__gt=Now(), external_id__isnull=False)
    mine = mine.filter(status__in=(RunStatus.STREAMING, RunStatus.WAITING)).exclude(provider__kind__in=_once())
    mine = mine.filter(Q(connected_at__isnull=False) | Q(status=RunStatus.WAITING))
    quiet = mine.order_by(F("last_event_at").asc(nulls_first=True)).values_list("pk", flat=True)
    found = [run_id for run_id in quiet if run_id not in stay][: 4 * most]
    gaps = Event.objects.filter(run=OuterRef("pk"), source=Source.HOUSE, kind="gap")
    losing = set(Run.objects.filter(pk__in=found).filter(Exists(gaps)).values_list("pk", flat=True))
    kept = losing | busy(found)
    return [run_id for run_id in found if run_id not in kept][:most]


def joined() -> set[str]:
    """Kinds of provider whose streams can be joined as often as need be."""
    return set(providers.REGISTRY) - _once()


def _once() -> set[str]:
    """Kinds of provider whose streams cannot be joined again."""
    return {kind for kind, adapter in providers.REGISTRY.items() if adapter.capabilities.replay == "none"}


def _may_be_ours() -> Q:
    """A run that a webhook told us of while a start of ours, which may be the same run, waits for its answer."""
    since = Now() - timedelta(seconds=START_S)
    reading = {kind for kind, adapter in providers.REGISTRY.items() if adapter.capabilities.read_back}
    starts = Run.objects.filter(provider=OuterRef("provider"), status=RunStatus.CONNECTING, external_id=None)
    told = Q(status=RunStatus.QUEUED, external_id__isnull=False, opened_at=None, provider__kind__in=reading)
    return told & Q(started_at__gt=since) & Q(Exists(starts.filter(opened_at__gt=since)))
