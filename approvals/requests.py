"""What providers ask: the projector opens, supersedes and ends requests as events are stored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Max, Q, QuerySet

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
TOGETHER = "The run asks it together with other calls now: any decision on version {version} is void."


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
    _lock_pauses({one.run_id for one in telling if one.kind == READ_BACK})
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
    asking = confirming.weigh(one, delivery, record)
    ends = one.run_id in over or any(isinstance(fact, Ended) for fact in one.facts)
    if asking and not ends and not Run.objects.filter(pk=one.run_id, status__in=ENDED).exists():
        _reopen(one, asking, delivery, record)


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
    pause, batch = _Pause(one, run_status, record), None
    if any(fact.together for fact in asks):
        if one.kind == READ_BACK:
            run = Run.objects.select_related("provider").get(pk=one.run_id)
            pause.lists = confirming.listing(one, run) | {rows.kept_id(fact)[0]: fact for fact in asks}
        batch = pause.batch() if pause.lists else _batch(one.run_id)
    for fact in asks:
        _ask_one(one, fact, batch if fact.together else None, run_status, record)
    if batch is not None:
        pause.complete(batch)


def _batch(run_id: UUID) -> Batch:
    """The run's open batch, locked, or a new one."""
    found = Batch.objects.filter(run=run_id).order_by("-round").first()
    if found is not None and found.closed_at is None:
        batches.lock(found.pk)
        if not _left(found):
            return found
    return Batch.objects.create(run_id=run_id, round=found.round + 1 if found else 1, total=0)


def _left(batch: Batch) -> bool:
    """Whether a reading of the run said that nobody waits for any of it."""
    asked = batches.members(batch.pk)
    return any(one.ended_why == endings.OUTSIDE for one in asked) and not any(one.status in OPEN for one in asked)


def _ask_one(one: Stored, fact: Asked, batch: Batch | None, run_status: str, record: Record) -> None:
    made = rows.made(one, fact, record)
    known = _newest(made)
    if known is None:
        made.batch = batch
        _open(made, run_status, record)
        return
    same, into = _same(known, made), batch if one.kind == READ_BACK else None
    if not same and known.status in OPEN and _supersede(known, record):
        made.alert = CHANGED.format(version=known.version)
        _replace(known, made, into, run_status, record)
    elif alert := _waits_after_all(known, one, same, run_status, record):
        _ask_anew(known, made, into, alert, run_status, record)
    elif not same and not known.alert:  # the same asked again stays what it is
        ApprovalRequest.objects.filter(pk=known.pk).update(alert=DIVERGED)
        record.add(known, "request.diverged", offered_sha256=made.input_sha256, seq=one.seq)


def _newest(made: ApprovalRequest) -> ApprovalRequest | None:
    return ApprovalRequest.objects.filter(run=made.run_id, call_id=made.call_id).order_by("-version").first()


def _same(known: ApprovalRequest, made: ApprovalRequest) -> bool:
    return (known.tool, known.canonical_sha256) == (made.tool, made.canonical_sha256)


def _replace(
    known: ApprovalRequest, made: ApprovalRequest, batch: Batch | None, run_status: str, record: Record
) -> None:
    """Open what takes the place of a superseded one: in its batch, or in another."""
    made.version, made.batch_id = known.version + 1, batch.pk if batch else known.batch_id
    _open(made, run_status, record)
    if known.batch_id and known.batch_id != made.batch_id:
        batches.reschedule(known.batch_id, record)


def _ask_anew(
    known: ApprovalRequest, made: ApprovalRequest, batch: Batch | None, alert: str, run_status: str, record: Record
) -> None:
    """Open what was over, and is asked again."""
    if known.status == S.REFUSED and lifecycle.try_settle(known.pk, to=S.STALE, at=record.at, status=S.REFUSED):
        record.add(known, "request.stale", reoffered_as=str(made.pk))
    made.version, made.reoffers, made.alert, made.batch = known.version + 1, known, alert, batch
    _open(made, run_status, record)


def _waits_after_all(known: ApprovalRequest, one: Stored, same: bool, run_status: str, record: Record) -> str:
    """What to say of a request that was over and is asked again; empty where it stays what it is.

    A replay that spells the past in other pieces looks like a run that goes on, and no approval may be lost by that.
    What a reading of the run did not list, only another reading brings back: a snapshot may be an old one. An agent
    may ask again under an id that was answered; whatever a reading then lists is a question of its own.
    """
    if run_status in ENDED or (known.batch_id is not None and one.kind != READ_BACK):
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


def _reopen(one: Stored, asking: Sequence[ApprovalRequest], delivery: Delivery, record: Record) -> None:
    """A reading of the run asks still, or anew: new versions, as it asks now, and together what it asks together."""
    assert delivery.run is not None
    pause = _Pause(one, delivery.run.status, record, confirming.listing(one, delivery.run))
    together = {asked.pk for asked in asking if pause.has(asked.call_id)}
    batch = pause.batch() if together else None
    for asked in asking:
        fact, into = pause.lists.get(asked.call_id), batch if asked.pk in together else None
        if asked.status == S.DELIVERED:
            if fact is not None:
                _ask_one(one, fact, into, delivery.run.status, record)
            continue
        alert = f"{NOT_TAKEN} The provider said: {delivery.answer}" if delivery.answer else NOT_TAKEN
        made = rows.made(one, fact, record) if fact else None
        if made and made.canonical_sha256 != asked.canonical_sha256 and not delivery.answer:
            alert = IN_DOUBT
        offer_again(asked, into, record, alert=events.short(alert, 300), made=made)
    if batch is not None:
        pause.complete(batch)


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
    if asked.status not in (*BY_NOBODY, S.STALE):
        lifecycle.settle(asked.pk, to=S.STALE, at=record.at, status=asked.status)
        record.add(asked, "request.stale", reoffered_as=str(made.pk))
    made.save(force_insert=True)
    record.add(made, "request.opened", tool=made.tool, version=made.version, seq=made.opened_by_seq)
    notices.opened(made, at=record.at)
    return made


# --- a pause of several calls, as a reading lists it ----------------------------------------------------------------


def _lock_pauses(run_ids: Collection[UUID]) -> None:
    """The batches of runs that were read, before the clock is read and a request is moved."""
    if run_ids:
        for batch_id in Batch.objects.filter(run__in=run_ids).order_by("pk").values_list("pk", flat=True):
            batches.lock(batch_id)


@dataclass(slots=True)
class _Pause:
    """What a reading lists. One answer must cover all that it lists together, so one batch has it all.

    Of a stream `lists` is empty: it may tell of changes alone, or repeat the past.
    """

    told: Stored
    run_status: str
    record: Record
    lists: Mapping[str, Asked] = field(default_factory=dict)

    def has(self, call_id: str) -> bool:
        """Whether it lists this call, and others with it."""
        return call_id in self.lists and self.lists[call_id].together

    def batch(self) -> Batch:
        """The batch in which a part of it is open, be it on its way out; or a new one. All are locked."""
        rounds = Batch.objects.filter(run=self.told.run_id).order_by("-round")
        found, last = rounds.filter(requests__in=self._waiting()).first(), rounds.first()
        return found or Batch.objects.create(run_id=self.told.run_id, round=last.round + 1 if last else 1, total=0)

    def complete(self, batch: Batch) -> None:
        """Where a part of the pause waits, let the batch have all of it; else all was known before, and is over."""
        here = {asked.call_id for asked in batches.members(batch.pk) if asked.ended_why != endings.OUTSIDE}
        if not here and not self._waiting().exists():
            batch.delete()
            return
        for call_id, fact in self.lists.items():
            if self.has(call_id) and call_id not in here and self.run_status not in ENDED:
                self._join(batch, fact)
        if self.lists:
            batches.reschedule(batch.pk, self.record, over=self.run_status in ENDED)
        Batch.objects.filter(pk=batch.pk).update(total=len(batches.members(batch.pk)))

    def _waiting(self) -> QuerySet[ApprovalRequest]:
        return ApprovalRequest.objects.filter(run=self.told.run_id, call_id__in=self.lists, status__in=OPEN)

    def _join(self, batch: Batch, fact: Asked) -> None:
        """Put a call beside the others; but not what ran, for that never asks again as it is.

        What an answer is under way to comes later, when a reading shows that it is open.
        """
        made = rows.made(self.told, fact, self.record)
        known = _newest(made)
        if known is None:
            made.batch = batch
            _open(made, self.run_status, self.record)
            return
        if known.status in (S.SENT, S.UNKNOWN) or known.ran:
            return
        same = _same(known, made)
        if known.status in OPEN:
            if _supersede(known, self.record):
                made.alert = (TOGETHER if same else CHANGED).format(version=known.version)
                _replace(known, made, batch, self.run_status, self.record)
            return
        alert = _waits_after_all(known, self.told, same, self.run_status, self.record)
        if same and not alert and known.status in BY_NOBODY:
            self._carry(batch, known, made)
        else:
            alert = alert or (LISTED_AGAIN if same else OTHERWISE.format(version=known.version))
            _ask_anew(known, made, batch, alert, self.run_status, self.record)

    def _carry(self, batch: Batch, known: ApprovalRequest, made: ApprovalRequest) -> None:
        """What a person put aside, or lapsed, stays so; the answer to the others must say that it is nobody's."""
        made.version, made.reoffers, made.batch = known.version + 1, known, batch
        made.status, made.settled_at, made.ended_why = known.status, self.record.at, known.ended_why
        made.deadline, made.deadline_text = known.deadline, known.deadline_text
        made.save(force_insert=True)
        self.record.add(made, "request.opened", tool=made.tool, version=made.version, seq=made.opened_by_seq)
        self.record.add(made, f"request.{made.status}", as_before=str(known.pk))
