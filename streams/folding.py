"""What is stored of a run, as its holder needs it: who it is, what its stream brought, the adapter's state."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Max

from streams import gaps, providers
from streams.models import Checkpoint, Event, Provider, Run, RunStatus, Source
from streams.providers.base import MISREAD, READ_BACK, Account, RunView
from streams.providers.base import Provider as Adapter
from streams.replay import Past
from streams.sse import Frame

OFF_STREAM = (READ_BACK, MISREAD)  # kinds of events without a place on the stream


@dataclass(frozen=True, slots=True)
class LastRead:
    """What is stored of the readings of a run itself, and who wants another."""

    sha256: str
    at: datetime | None
    nudged_at: datetime | None
    fresh: bool  # nothing of the run is stored yet


@dataclass(frozen=True, slots=True)
class Held:
    """A run with its provider, as last read."""

    adapter: Adapter
    account: Account
    view: RunView
    status: RunStatus
    opened: bool
    ended: bool
    reconnects: int
    provider_id: UUID
    secret_sealed: str
    blocked: bool  # paused, or the provider refused our secret

    @property
    def reenters(self) -> bool:
        """Whether a broken stream can be joined again."""
        return self.adapter.capabilities.replay != "none"


def account_of(provider: Provider) -> Account:
    """What an adapter may know of a Provider row. Raises SecretError."""
    return Account(provider.base_url, provider.secret, provider.dialect, provider.options)


def view_of(run: Run) -> RunView:
    """What an adapter may know of a Run row."""
    return RunView(
        id=run.pk,
        external_id=run.external_id or "",
        thread_id=run.thread_id,
        stream_url=run.stream_url,
        task=run.task,
        workflow=run.workflow,
        options=run.options,
    )


def load(run_id: UUID) -> Held:
    """Read a run. Raises LookupError where this version has no adapter for its provider."""
    run = Run.objects.select_related("provider").get(pk=run_id)
    return Held(
        adapter=providers.get(run.provider.kind),
        account=account_of(run.provider),
        view=view_of(run),
        status=RunStatus(run.status),
        opened=run.opened_at is not None,
        ended=run.ended_at is not None,
        reconnects=run.reconnects,
        provider_id=run.provider.pk,
        secret_sealed=run.provider.secret_sealed,
        blocked=run.provider.paused or run.provider.credential_refused_at is not None,
    )


def last_read(run_id: UUID) -> LastRead:
    """When the run itself was last read (and stored), and when somebody last asked for it."""
    told = Event.objects.filter(run=run_id, source=Source.PROVIDER)
    last = told.filter(ordinal=None, kind__in=OFF_STREAM).order_by("-seq").values_list("sha256", "received_at").first()
    sha256, at = last or ("", None)
    nudged_at = Run.objects.values_list("nudged_at", flat=True).get(pk=run_id)
    return LastRead(sha256, at, nudged_at, fresh=not told.exists())


def past_of(run_id: UUID, adapter: Adapter) -> Past:
    """What is stored of a run's stream, for the matcher. Bodies of the run itself never were on it."""
    rows = Event.objects.filter(run_id=run_id, source=Source.PROVIDER).order_by("seq")
    positions: defaultdict[int, set[str]] = defaultdict(set)
    ids: dict[str, int] = {}
    missing = gaps.of(run_id)
    payloads: set[str] = set()
    end = 0
    for kind, ordinal, own_id, sha256 in rows.values_list("kind", "ordinal", "own_id", "sha256"):
        if ordinal is None and kind in OFF_STREAM:
            continue
        if not adapter.capabilities.replay_exact:
            payloads.add(f"{kind} {sha256}")
        position = end if ordinal is None else ordinal
        positions[position].add(adapter.identity(kind, sha256))
        end = max(end, position + 1)
        if own_id:
            ids[own_id] = position
    past = [frozenset(positions[position]) for position in range(end)]
    return Past(
        past,
        ids,
        gaps=frozenset(missing.places),
        payloads=frozenset(payloads),
        open=frozenset(missing.open),
        certain=frozenset(missing.certain),
        missing_since=missing.since,
    )


def state_of(run: Run, *, adapter: Adapter | None = None) -> Any:
    """The adapter's fold state after the last stored event: the checkpoint, and what was stored after it.

    The courier builds an answer from this; a holder that takes over goes on from it. Frames that a replay brought in
    another form stand below the stream's end, and were not folded when they came either (reader.py).
    """
    adapter = adapter or providers.get(run.provider.kind)
    saved = Checkpoint.objects.filter(run=run).first()
    state = adapter.load(saved.state) if saved else adapter.initial(account_of(run.provider), view_of(run))
    told = Event.objects.filter(run=run, source=Source.PROVIDER)
    folded, exact = saved.seq if saved else 0, adapter.capabilities.replay_exact
    end = -1 if exact else told.filter(seq__lte=folded).aggregate(last=Max("ordinal", default=-1))["last"]
    later = told.filter(seq__gt=folded).order_by("seq").values_list("kind", "payload", "own_id", "ordinal")
    for kind, payload, own_id, ordinal in later.iterator(chunk_size=500):
        if ordinal is None and kind in OFF_STREAM:
            if kind == READ_BACK:
                state, _ = adapter.read_run(state, payload)
        elif exact or ordinal is None or ordinal > end:
            state, _ = adapter.step(state, Frame(kind, payload, own_id))
            end = end if ordinal is None else ordinal
    return state


def resume(run_id: UUID, adapter: Adapter) -> tuple[Any, str]:
    """The fold state and the last SSE id of a run that a holder takes up."""
    run = Run.objects.select_related("provider").get(pk=run_id)
    ids = Event.objects.filter(run=run).exclude(own_id="").order_by("-seq").values_list("own_id", flat=True)
    return state_of(run, adapter=adapter), ids.first() or ""
