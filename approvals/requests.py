"""What providers ask: the projector opens, supersedes and ends requests as events are stored."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import Max, Q

from approvals import (
    batches,
    confirming,
    deadlines,
    endings,
    evidence,
    executed,
    frameworks,
    ids,
    lifecycle,
    notices,
    outbox,
    rows,
)
from approvals.answers import BY_NOBODY
from approvals.audit import Record
from approvals.models import OPEN, ApprovalRequest, Batch, Delivery, Ran, RequestStatus, Undone
from streams import events, providers
from streams.events import Asked, Ended, Executed, Gone, MovedOn
from streams.journal import Remark, Stored
from streams.models import ENDED, Run, RunStatus
from streams.providers.base import READ_BACK

S = RequestStatus
TELLING = (Asked, Ended, MovedOn, Gone, Executed, *frameworks.TELLING)

CHANGED = "The arguments changed after version {version} was shown: any decision on it is void."
WENT_ON = "The agent had gone on without an answer, as it seemed, and asks again."
DIVERGED = "After the decision had left, the provider offered the same call with other arguments."
NOT_TAKEN = "An answer was sent, and the run still asks: it was not taken."
IN_DOUBT = "An answer was sent, and whether it was taken is not known; the run asks with other arguments now."
LISTED_AGAIN = "It seemed to be answered outside of Countersign, and the run asks it again."
ASKED_AGAIN = "The answer before was delivered, and the run asks again under the same id."
OTHERWISE = "The run asks with other arguments than version {version}, which is over."


def project(stored: Sequence[Stored]) -> list[Remark]:
    """Change requests as stored events tell, in the transaction that stores them. Doing it again changes nothing.

    Returns what the house has to say of the runs because of it.
    Most batches tell nothing and cost no query: an event matters by its facts, or because its kind can prove an answer.
    """
    proving = _proving_kinds()
    telling = [one for one in stored if _tells(one, proving)]
    if not telling:
        return []
    awaited = evidence.awaited({one.run_id for one in telling})
    if not awaited and not any(isinstance(fact, TELLING) for one in telling for fact in one.facts):
        return []
    record = Record(deadlines.now())
    remarks = frameworks.tell(telling, record)
    over: dict[UUID, str] = {}  # runs that end in this batch; the journal moves them only afterwards
    for one in telling:
        for delivery in awaited:
            _prove(one, delivery, over, record)
        _apply(one, over, record)
        remarks += executed.compare(one, record)
    record.write()
    return remarks


def _proving_kinds() -> frozenset[str] | None:
    """Kinds of events that prove an answer by themselves, for any provider; None: every kind may."""
    kinds: frozenset[str] = frozenset()
    for adapter in providers.REGISTRY.values():
        if adapter.capabilities.evidence_kinds is None:
            return None
        kinds |= adapter.capabilities.evidence_kinds
    return kinds


def _tells(one: Stored, proving: frozenset[str] | None) -> bool:
    return proving is None or one.kind in proving or any(isinstance(fact, TELLING) for fact in one.facts)


def _prove(one: Stored, delivery: Delivery, over: Mapping[UUID, str], record: Record) -> None:
    if confirming.needed(delivery) is None:
        evidence.prove(one, delivery, record)
        return
    for asked in confirming.weigh(one, delivery, record):
        ends = one.run_id in over or any(isinstance(fact, Ended) for fact in one.facts)
        if not ends and not Run.objects.filter(pk=one.run_id, status__in=ENDED).exists():
            _reopen(one, asked, delivery, record)


def _apply(one: Stored, over: dict[UUID, str], record: Record) -> None:
    asks = [fact for fact in one.facts if isinstance(fact, Asked)]
    if asks:
        status = over.get(one.run_id) or Run.objects.values_list("status", flat=True).get(pk=one.run_id)
        _ask(one, asks, status, record)
    for fact in one.facts:
        if isinstance(fact, Ended):
            over[one.run_id] = fact.how
            endings.end_all(one.run_id, RunStatus(fact.how), record)
        elif isinstance(fact, Gone):
            endings.close_gone(one.run_id, fact, record)
        elif isinstance(fact, MovedOn):
            endings.move_on(one.run_id, record)


# --- asked ----------------------------------------------------------------------------------------------------------


def _ask(one: Stored, asks: list[Asked], run_status: str, record: Record) -> None:
    batch = None
    if any(fact.together for fact in asks):
        batch = _batch(one.run_id)
    for fact in asks:
        _ask_one(one, fact, batch if fact.together else None, run_status, record)
    if batch is not None:
        total = len(batches.members(batch.pk))
        if total:
            Batch.objects.filter(pk=batch.pk).update(total=total)
        else:
            batch.delete()  # all of it was known before


def _batch(run_id: UUID) -> Batch:
    """The run's open batch, locked, or a new one."""
    found = Batch.objects.filter(run=run_id).order_by("-round").first()
    if found is not None and found.closed_at is None:
        batches.lock(found.pk)
        return found
    return Batch.objects.create(run_id=run_id, round=found.round + 1 if found else 1, total=0)


def _ask_one(one: Stored, fact: Asked, batch: Batch | None, run_status: str, record: Record) -> None:
    made = rows.made(one, fact, record)
    known = ApprovalRequest.objects.filter(run=one.run_id, call_id=made.call_id).order_by("-version").first()
    if known is None:
        made.batch = batch
        _open(made, run_status, record)
        return
    same = (known.tool, known.canonical_sha256) == (made.tool, made.canonical_sha256)
    if not same and known.status in OPEN and _supersede(known, record):
        made.version, made.batch_id = known.version + 1, known.batch_id
        made.alert = CHANGED.format(version=known.version)
        _open(made, run_status, record)
    elif alert := _waits_after_all(known, one, same, run_status, record):
        if known.status == S.REFUSED and lifecycle.try_settle(known.pk, to=S.STALE, at=record.at, status=S.REFUSED):
            record.add(known, "request.stale", reoffered_as=str(made.pk))
        made.version, made.reoffers, made.alert = known.version + 1, known, alert
        _open(made, run_status, record)
    elif not same and not known.alert:  # the same asked again stays what it is
        ApprovalRequest.objects.filter(pk=known.pk).update(alert=DIVERGED)
        record.add(known, "request.diverged", offered_sha256=made.input_sha256, seq=one.seq)


def _waits_after_all(known: ApprovalRequest, one: Stored, same: bool, run_status: str, record: Record) -> str:
    """What to say of a request that was over and is asked again; empty where it stays what it is.

    A replay that spells the past in other pieces looks like a run that goes on, and no approval may be lost by that.
    What a reading of the run did not list, only another reading brings back: a snapshot may be an old one. An agent
    may ask again under an id that was answered; whatever a reading then lists is a question of its own.
    """
    if known.batch_id is not None or run_status in ENDED:
        return ""
    if one.kind == READ_BACK and known.status in ASKED_ANEW and not (same and _put_aside(known)):
        if known.status == S.DELIVERED:
            return ASKED_AGAIN
        return LISTED_AGAIN if same else OTHERWISE.format(version=known.version)
    in_time = known.deadline is None or known.deadline > record.at + deadlines.margin()
    return WENT_ON if same and in_time and known.status == S.EXPIRED else ""


ASKED_ANEW = (S.DELIVERED, S.REFUSED, S.WITHDRAWN)


def _put_aside(known: ApprovalRequest) -> bool:
    """Whether a person said that nobody should answer this."""
    return known.status == S.WITHDRAWN and known.ended_why != endings.OUTSIDE


def _supersede(known: ApprovalRequest, record: Record) -> bool:
    if known.batch_id:
        batches.lock(known.batch_id)
    if not lifecycle.try_settle(known.pk, to=S.SUPERSEDED, at=record.at):
        return False
    outbox.void(known, why=Undone.SUPERSEDED, record=record)
    record.add(known, "request.superseded", version=known.version)
    return True


def _open(made: ApprovalRequest, run_status: str, record: Record) -> None:
    if run_status in ENDED:  # asked after the end: there is nobody to answer
        made.status = S.STALE if run_status in endings.NO_ANSWER else S.WITHDRAWN
        made.settled_at, made.ended_why = record.at, endings.BEHIND_THE_END
    made.reoffers = made.reoffers or _offered_before(made, record)
    made.save(force_insert=True)
    if made.batch_id:
        batches.reschedule(made.batch_id, record, over=run_status in ENDED)
    record.add(made, "request.opened", tool=made.tool, version=made.version, seq=made.opened_by_seq)
    notices.opened(made, at=record.at)


def _offered_before(made: ApprovalRequest, record: Record) -> ApprovalRequest | None:
    """AG-UI: the run that carried our answer asks for the same id again, so the old request was not taken."""
    before = ApprovalRequest.objects.filter(
        Q(batch__deliveries__answering_run=made.run_id) | Q(decisions__deliveries__answering_run=made.run_id),
        call_id=made.call_id,
        status__in=(S.UNKNOWN, S.REFUSED),
        reoffered_as=None,
    ).first()
    if before is None or not lifecycle.try_settle(before.pk, to=S.STALE, at=record.at):
        return None
    record.add(before, "request.stale", reoffered_as=str(made.pk))
    return before


# --- offered again --------------------------------------------------------------------------------------------------


def _reopen(one: Stored, asked: ApprovalRequest, delivery: Delivery, record: Record) -> None:
    """A reading of the run asks still, or anew: a new version, as it asks now."""
    assert delivery.run is not None
    fact = confirming.listed(one, delivery.run, asked.call_id)
    if asked.status == S.DELIVERED:
        if fact is not None:
            _ask_one(one, fact, None, delivery.run.status, record)
        return
    alert = f"{NOT_TAKEN} The provider said: {delivery.answer}" if delivery.answer else NOT_TAKEN
    made = rows.made(one, fact, record) if fact else None
    if made and made.canonical_sha256 != asked.canonical_sha256 and not delivery.answer:
        alert = IN_DOUBT
    offer_again(asked, None, record, alert=events.short(alert, 300), made=made)


def offer_again(
    asked: ApprovalRequest,
    batch: Batch | None,
    record: Record,
    *,
    alert: str = "",
    made: ApprovalRequest | None = None,
) -> ApprovalRequest:
    """A new version of a request that turned out to be open still; the old one ends stale, or stays as it ended.

    `made`: what is asked now; else as the run was last seen to ask it, or the same.
    """
    versions = ApprovalRequest.objects.filter(run=asked.run_id, call_id=asked.call_id)
    if made is None and batch is None:
        run = Run.objects.select_related("provider").get(pk=asked.run_id)
        last = confirming.listed_last(run, asked.call_id)
        made = rows.made(*last, record) if last else None
    if made is None:
        made = ApprovalRequest.objects.get(pk=asked.pk)
        made.pk, made._state.adding = ids.in_order(), True
    made.version = (versions.aggregate(last=Max("version"))["last"] or 0) + 1
    made.status, made.settled_at, made.status_changed_at, made.ended_why = S.PENDING, None, record.at, ""
    made.requested_at, made.alert, made.reoffers, made.batch = record.at, alert, asked, batch
    made.ran, made.ran_arguments, made.ran_seq = Ran.NOT_SHOWN, "", None
    if asked.status not in BY_NOBODY:
        lifecycle.settle(asked.pk, to=S.STALE, at=record.at, status=asked.status)
        record.add(asked, "request.stale", reoffered_as=str(made.pk))
    made.save(force_insert=True)
    record.add(made, "request.opened", tool=made.tool, version=made.version, seq=made.opened_by_seq)
    notices.opened(made, at=record.at)
    return made
