"""Start, watch or nudge a run, or ask for a lost one again: a checked row; the supervisor does the rest."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Q

from streams import announce, candidates, lifecycle, nudges, providers
from streams.models import Provider, Run, RunStatus
from streams.providers.addresses import id_problem


class StartRefused(Exception):
    """A start that no provider could take; `problems` says why, by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {why}" for field, why in problems.items()))
        self.problems = dict(problems)


def start(
    provider: Provider,
    *,
    task: str = "",
    workflow: str = "",
    options: Mapping[str, Any] | None = None,
    title: str = "",
    by: Any = None,
    key: UUID | None = None,
) -> Run:
    """Store a queued run. Raises StartRefused naming each field that its provider could not take.

    `key` becomes the run's id: the same start said twice with one key gives one run.
    """
    options = dict(options or {})
    problems = providers.get(provider.kind).check_start(task=task, workflow=workflow, options=options)
    if problems:
        raise StartRefused(problems)
    run = Run(
        pk=key or uuid4(),
        provider=provider,
        task=task,
        workflow=workflow,
        options=options,
        title=title or _title(task or workflow),
        started_by=by,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            announce.stream_wake(run.pk)
            announce.changed(announce.INBOX, announce.run_topic(run.pk))
    except IntegrityError:
        if key is None:
            raise
        return _said_before(run)
    return run


def _said_before(said: Run) -> Run:
    """The run that this key started, if it was the same start."""
    run = Run.objects.get(pk=said.pk)
    names = ("provider_id", "task", "workflow", "options", "started_by_id")
    if any(getattr(run, name) != getattr(said, name) for name in names):
        raise StartRefused({"key": "it started another run already"})
    return run


def watch(provider: Provider, external_id: str, *, by: Any = None) -> Run:
    """Follow somebody else's run by its external id; asking twice finds the same row. Raises StartRefused."""
    adapter = providers.get(provider.kind)
    if not adapter.capabilities.watch:
        raise StartRefused({"provider": f"a run of {adapter.label} can only be followed by whoever started it"})
    if not external_id.strip() or len(external_id) > 255:
        raise StartRefused({"external_id": "1 to 255 characters are needed"})
    if why := id_problem(external_id, limit=255):
        raise StartRefused({"external_id": f"no address can be made of it: {why}"})
    try:
        with transaction.atomic():
            run = Run.objects.create(provider=provider, external_id=external_id, title=external_id, started_by=by)
            announce.stream_wake(run.pk)
            announce.changed(announce.INBOX)
            return run
    except IntegrityError:
        return Run.objects.get(provider=provider, external_id=external_id)


def nudge(run_id: UUID) -> None:
    """Somebody says that a run may have changed (an answer left, a webhook came): its holder reads it at once.

    Nothing is known by it. A run that nobody holds now is read when it is held; one that is over is left alone.
    """
    with transaction.atomic():
        nudges.mark(run_id)


def nudge_external(provider: Provider, external_id: str) -> Run | None:
    """The same by the provider's own id; a run that we do not know yet is followed from now on.

    None where its provider's runs cannot be read, or by this id cannot be.
    """
    if not providers.get(provider.kind).capabilities.read_back or id_problem(external_id, limit=255):
        return None
    run = Run.objects.filter(provider=provider, external_id=external_id).first()
    if run is None:
        try:
            run = watch(provider, external_id)
        except StartRefused:
            return None
    nudge(run.pk)
    return run


def can_be_joined(run: Run) -> bool:
    """Whether a holder could join this run's stream, however the run stands now. Wants `provider` selected."""
    return run.external_id is not None and run.provider.kind in candidates.joined()


def why_not_again(run: Run) -> str:
    """Why this run's provider cannot be asked for it again, in words; empty where it can. Wants `provider` selected."""
    if not can_be_joined(run):
        return "its stream cannot be joined again"
    if run.status != RunStatus.LOST:
        return "the run is not lost, or somebody asked for it already"
    if run.provider.paused:
        return f"{run.provider.name} is paused, so nothing is asked there until it is resumed"
    if run.provider.credential_refused_at:
        return f"{run.provider.name} refuses the secret, so nothing is asked there until it has a new one"
    return ""


def ask_again(run_id: UUID, *, at: datetime, waits: bool) -> bool:
    """Let a lost run be taken up, joined and read as any other. False: it is not lost (any more).

    `waits`: as far as is known, for a person. A replay of what is known moves no run, so that it would stay connecting.
    """
    lost = Q(status=RunStatus.LOST)
    with transaction.atomic():
        if not lifecycle.try_move(run_id, lost, to=RunStatus.CONNECTING, at=at, outcome="", error=""):
            return False
        if waits:
            lifecycle.move(run_id, to=RunStatus.WAITING, at=at)
        nudges.mark(run_id)  # where a run can be read, it is read at once
        announce.changed(announce.run_topic(run_id), announce.INBOX)
    return True


def _title(said: str) -> str:
    first = next(iter(said.strip().splitlines()), "")
    return first if len(first) <= 120 else f"{first[:119]}…"
