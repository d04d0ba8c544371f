"""Decisions on their way out: enqueued with what caused them, claimed by one courier, ended by what came of them.

Rows are locked in one order everywhere: batch, requests by key, delivery, audit head.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q

from approvals import answering, batches, deadlines, lifecycle
from approvals.audit import Record
from approvals.models import (
    OPEN,
    ApprovalRequest,
    Decision,
    Delivery,
    DeliveryKind,
    DeliveryState,
    RequestStatus,
    Undone,
    Vote,
)
from streams import announce
from streams.faults import fault
from streams.models import Event, Lease, Provider

S = RequestStatus
D = DeliveryState
CLAIM_S = 15  # a claim is worth so long; a courier that needs longer has lost it
SENDING_S = 20  # longer than any call may take: a `sent` without an end and older than this has lost its sender
OURS = (DeliveryKind.DECISION, DeliveryKind.BATCH)
ROWS_AT_ONCE = 200


# --- in: what decisions and requests do -----------------------------------------------------------------------------


def enqueue(decision: Decision, asked: ApprovalRequest, record: Record) -> None:
    """Make the row that carries a decision; without an undo window (and alone) it is ready at once."""
    if asked.batch_id:
        batches.reschedule(asked.batch_id, record)
        return
    delivery = Delivery.objects.create(
        kind=DeliveryKind.DECISION, run_id=asked.run_id, decision=decision, next_at=decision.leaves_at
    )
    if decision.leaves_at <= record.at:
        _let_go(delivery.pk, asked, record)


def void(asked: ApprovalRequest, *, why: Undone, record: Record) -> None:
    """Take back a request's live decision, and what was to carry it alone: nothing of it has left.

    What carries a whole batch is rescheduled by whoever moves its member.
    """
    for decision in Decision.objects.filter(request=asked, undone_at=None):
        Decision.objects.filter(pk=decision.pk).update(undone_at=record.at, undone_why=why)
        Vote.objects.filter(request=asked, undone_at=None).update(undone_at=record.at)
        for delivery_id in decision.deliveries.exclude(state=D.CANCELLED).values_list("pk", flat=True):
            lifecycle.try_shift(delivery_id, to=D.CANCELLED, facts={"finished_at": record.at})


# --- waiting -> ready -----------------------------------------------------------------------------------------------


def release_due() -> int:
    """Let go whatever's undo window is over; and what was parked, where its provider has a new secret."""
    at = deadlines.now()
    due = Delivery.objects.filter(kind__in=OURS, state__in=(D.WAITING, D.PARKED), next_at__lte=at)
    due = due.exclude(state=D.PARKED, run__provider__credential_refused_at__isnull=False)
    return sum(_release(delivery) for delivery in due.order_by("next_at")[:ROWS_AT_ONCE])


@transaction.atomic
def _release(due: Delivery) -> bool:
    if due.batch_id:
        batches.lock(due.batch_id)
    record = Record(deadlines.now())
    if due.state == D.PARKED:
        released = lifecycle.try_shift(due.pk, to=D.READY, state=D.PARKED)
    elif due.batch_id:
        batches.reschedule(due.batch_id, record)
        released = Delivery.objects.filter(pk=due.pk, state=D.READY).exists()
    else:
        assert due.decision is not None
        released = _let_go(due.pk, due.decision.request, record)
    record.write()
    return released


def _let_go(delivery_id: UUID, asked: ApprovalRequest, record: Record) -> bool:
    """held -> deciding and waiting -> ready, both or none."""
    if not lifecycle.try_settle(asked.pk, to=S.DECIDING, at=record.at, status=S.HELD):
        return False
    lifecycle.try_shift(delivery_id, to=D.READY, facts={"next_at": record.at})
    record.touch(asked)
    announce.delivery_wake(delivery_id)
    return True


def any_unfinished() -> bool:
    """Whether there is a delivery that the clock may do something to. Most of the time there is none."""
    moving = Q(state__in=(D.WAITING, D.READY, D.CLAIMED, D.SENT, D.PARKED))
    patient = Q(state=D.UNKNOWN, claim_expires_at__isnull=False)  # the run may still show what came of it
    return Delivery.objects.filter(moving | patient, kind__in=OURS).exists()


def next_due(*, after: datetime) -> datetime | None:
    """When the next delivery is due, if nothing else happens. What was due before waits for something else."""
    rows = Delivery.objects.filter(kind__in=OURS, state__in=(D.WAITING, D.READY), next_at__gt=after)
    moment: datetime | None = rows.aggregate(first=models.Min("next_at"))["first"]
    return moment


def on_their_way(run_ids: Collection[UUID]) -> set[UUID]:
    """Of these runs the ones with an answer that is about to leave, or left and has no end yet."""
    rows = Delivery.objects.filter(run__in=run_ids, kind__in=OURS, state__in=(D.READY, D.CLAIMED, D.SENT))
    return {run_id for run_id in rows.values_list("run_id", flat=True) if run_id is not None}


# --- claims ---------------------------------------------------------------------------------------------------------


class ClaimLost(Exception):
    """Somebody else has the delivery by now, or it is not to be sent any more: change nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry one delivery until a time; a newer epoch ends it."""

    delivery_id: UUID
    epoch: int
    owner: str
    provider_id: UUID


def claim(owner: str, *, room: int, busy: Mapping[UUID, int] | None = None, most_each: int = 4) -> list[Claim]:
    """Claim up to `room` due deliveries by conditional UPDATE; with the `busy` ones at most `most_each` of a provider.

    Deliveries of one run keep their order: the next one waits until the one before has an answer.
    """
    count = Counter(busy or {})
    at = deadlines.now()
    due = (
        Delivery.objects.filter(kind__in=OURS, state=D.READY, next_at__lte=at, run__provider__paused=False)
        .filter(run__provider__credential_refused_at=None)
        .exclude(run__provider__in=[provider_id for provider_id, busy_now in count.items() if busy_now >= most_each])
        .exclude(Exists(_ahead()))
        .order_by("next_at", "created_at")
        .values_list("pk", "claim_epoch", "run__provider")
    )
    claims: list[Claim] = []
    for pk, epoch, provider_id in due[:room]:
        fault("outbox.unclaimed")
        wished = Claim(pk, epoch + 1, owner, provider_id)
        if count[provider_id] < most_each and _claim(wished, at):
            count[provider_id] += 1
            claims.append(wished)
            fault("outbox.claimed")
    return claims


def _ahead() -> models.QuerySet[Delivery]:
    others = Delivery.objects.filter(run=OuterRef("run")).exclude(pk=OuterRef("pk"))
    return others.filter(
        Q(state__in=(D.CLAIMED, D.SENT)) | Q(state=D.READY, created_at__lt=OuterRef("created_at"))
    ).order_by()


def _claim(wished: Claim, at: datetime) -> bool:
    return lifecycle.try_shift(
        wished.delivery_id,
        to=D.CLAIMED,
        facts={
            "claim_owner": wished.owner,
            "claim_epoch": wished.epoch,
            "claim_expires_at": at + timedelta(seconds=CLAIM_S),
        },
        state=D.READY,
        claim_epoch=wished.epoch - 1,
    )


@transaction.atomic
def give_back(claim: Claim, *, why: str = "", wait_s: float = 0) -> None:
    """A claim that will not be used: nothing was sent, the next one may try."""
    at = deadlines.now()
    facts = {"claim_expires_at": None, "next_at": at + timedelta(seconds=wait_s), "last_error": why}
    lifecycle.try_shift(claim.delivery_id, to=D.READY, facts=facts, state=D.CLAIMED, claim_epoch=claim.epoch)


# --- claimed -> sent ------------------------------------------------------------------------------------------------


class AnswersChanged(Exception):
    """What was prepared is not what is to be sent any more; `late` are the requests whose deadline is too near."""

    def __init__(self, late: Collection[UUID] = ()) -> None:
        super().__init__("the answers changed after they were prepared")
        self.late = late


@transaction.atomic
def mark_sent(claim: Claim, *, answered: Collection[UUID], body_sha256: str, answering_id: str = "") -> UUID | None:
    """The durable commit right before the first byte: the requests are `sent` from here on.

    Returns the run that the answer opens, made in the same commit, where there is an `answering_id` for it.
    Raises AnswersChanged where a request is not `deciding` any more or its deadline is too near, ClaimLost where the
    claim is another's or ran out.
    """
    run_id = Delivery.objects.values_list("run", flat=True).get(pk=claim.delivery_id)
    hold_still(run_id)
    record = Record(deadlines.now())
    asked = list(ApprovalRequest.objects.filter(pk__in=answered).order_by("pk"))
    too_late = record.at + deadlines.margin()
    in_time = Q(deadline=None) | Q(deadline__gt=too_late)
    for one in asked:
        if not lifecycle.try_settle(one.pk, in_time, to=S.SENT, at=record.at, status=S.DECIDING):
            raise AnswersChanged([one.pk for one in asked if one.deadline and one.deadline <= too_late])
    row = Delivery.objects.select_related("run").get(pk=claim.delivery_id)
    assert row.run is not None  # a constraint: only webhooks have none
    if row.batch_id and ApprovalRequest.objects.filter(batch=row.batch_id, status__in=OPEN).exists():
        raise AnswersChanged
    opened = (
        answering.make(row.run, external_id=answering_id, owner=claim.owner, at=record.at) if answering_id else None
    )
    facts: dict[str, Any] = {
        "sent_at": record.at,
        "sent_after_seq": Event.objects.filter(run=row.run).aggregate(last=models.Max("seq", default=0))["last"],
        "attempts": F("attempts") + 1,
        "claim_expires_at": record.at + timedelta(seconds=SENDING_S),
        "only_open": not _others_open(row.run.pk, answered),
        "answering_run": opened,
        "contrary_seq": None,
        "answer_status": None,
        "answer": "",
        "last_error": "",
    }
    held = {"state": D.CLAIMED, "claim_epoch": claim.epoch, "claim_expires_at__gt": record.at}
    if not lifecycle.try_shift(claim.delivery_id, to=D.SENT, facts=facts, **held):
        raise ClaimLost
    for one in asked:
        record.add(one, "delivery.sent", delivery=str(row.pk), attempt=row.attempts + 1, body_sha256=body_sha256)
    record.write()
    fault("outbox.marking")
    return opened.pk if opened else None


def hold_still(run_id: UUID | None) -> None:
    """Let nobody store events of the run until this transaction ends; taken before every other lock.

    What comes to be stored meanwhile waits, and finds what was written here. SQLite has one writer anyway.
    """
    list(Lease.objects.select_for_update(no_key=True).filter(run=run_id).values_list("pk"))


def _others_open(run_id: UUID, answered: Collection[UUID]) -> bool:
    others = ApprovalRequest.objects.filter(run=run_id, status__in=(*OPEN, S.SENT, S.UNKNOWN))
    return others.exclude(pk__in=answered).exists()


# --- sent -> what came of it ----------------------------------------------------------------------------------------


def carried(delivery: Delivery) -> list[ApprovalRequest]:
    """The requests that a delivery answers, in the order in which rows are locked."""
    if delivery.batch_id:
        return batches.members(delivery.batch_id)
    assert delivery.decision is not None
    return [delivery.decision.request]


@transaction.atomic
def mark_delivered(claim: Claim, *, status: int, answer: str = "") -> None:
    """The provider took it. Also where we had given up waiting, as long as nobody else took over. Raises ClaimLost."""
    facts = {"answer_status": status, "answer": answer, "evidence": "2xx"}
    _end(claim, S.DELIVERED, D.DELIVERED, facts, from_states=(D.SENT, D.UNKNOWN))


@transaction.atomic
def mark_refused(claim: Claim, *, status: int | None, answer: str) -> None:
    """The provider said no, in its own words. Also where we had given up waiting. Raises ClaimLost."""
    facts = {"answer_status": status, "answer": answer}
    states = (D.SENT, D.UNKNOWN)
    _end(claim, S.REFUSED, D.REFUSED, facts, from_states=states, opened=answering.fail, why=answer)


def cancel(claim: Claim) -> None:
    """There is nobody to answer any more: what was claimed is not sent."""
    facts = {"claim_expires_at": None, "finished_at": deadlines.now()}
    lifecycle.try_shift(claim.delivery_id, to=D.CANCELLED, facts=facts, state=D.CLAIMED, claim_epoch=claim.epoch)


@transaction.atomic
def mark_unmakeable(claim: Claim, *, why: str) -> None:
    """No call can be made of this decision: it is closed before a byte left. Raises ClaimLost."""
    _end(claim, S.REFUSED, D.REFUSED, {"last_error": why}, from_states=(D.CLAIMED,), before=S.DECIDING)


@transaction.atomic
def mark_not_taken(claim: Claim, *, why: str, status: int | None = None, refused_secret: str | None = None) -> None:
    """We had given it up as unknown, and hear now that it did nothing: it never left, or was not taken then.

    Unknown never goes back to waiting, so it ends as refused, and a person may offer the request again. Raises
    ClaimLost, also where an attempt before this one may have been taken.
    """
    if refused_secret is not None:
        _refuse_credential(claim, refused_secret)
    facts = {"answer_status": status, "answer": f"Not taken: {why}"}
    states = (D.UNKNOWN,)
    _end(claim, S.REFUSED, D.REFUSED, facts, from_states=states, opened=answering.fail, why=why, maybe_taken=False)


def _refuse_credential(claim: Claim, sealed: str) -> None:
    refused = Provider.objects.filter(pk=claim.provider_id, secret_sealed=sealed)
    refused.update(credential_refused_at=deadlines.now())


@transaction.atomic
def mark_unknown(claim: Claim, *, why: str, status: int | None = None, confirm_s: float | None = None) -> None:
    """It left, and nobody can say what came of it; unless the run has shown already that it was not taken.

    `confirm_s`: the run itself can be read, and the answer is given so long before that counts against it (confirming).
    """
    contrary = Delivery.objects.values_list("contrary_seq", flat=True).get(pk=claim.delivery_id)
    facts: dict[str, Any] = {"answer_status": status, "last_error": why}
    if confirm_s is not None:
        facts["claim_expires_at"] = deadlines.now() + timedelta(seconds=confirm_s)
    if contrary is None or confirm_s is not None:
        # With a status the answering run is over; without one its holder says what became of it.
        _end(claim, S.UNKNOWN, D.UNKNOWN, facts, opened=answering.fail if status else None, why=why)
    else:
        _end(claim, S.REFUSED, D.REFUSED, {**facts, "evidence": f"event {contrary}"})


@transaction.atomic
def mark_later(claim: Claim, *, why: str, wait_s: float, status: int | None = None, maybe_taken: bool = False) -> None:
    """Not now: provably not taken, or a repeat cannot act twice (`maybe_taken`). Raises ClaimLost."""
    facts: dict[str, Any] = {"answer_status": status, "last_error": why, "answering_run": None}
    if maybe_taken:
        facts["maybe_taken"] = True
    _end(claim, S.DECIDING, D.READY, facts, wait_s=wait_s, opened=answering.unmake, why=why)


@transaction.atomic
def mark_parked(
    claim: Claim, *, why: str, wait_s: float = 0, status: int | None = None, refused_secret: str | None = None
) -> None:
    """Nothing can be sent now. Raises ClaimLost.

    `refused_secret`: the sealed secret that the provider refused; while it is the provider's, nothing is sent to it.
    """
    if refused_secret is not None:
        _refuse_credential(claim, refused_secret)
    facts = {"answer_status": status, "last_error": why, "answering_run": None}
    states = (D.SENT, D.CLAIMED)
    _end(claim, S.DECIDING, D.PARKED, facts, wait_s=wait_s, from_states=states, opened=answering.unmake, why=why)


class EndRun(Protocol):
    """What becomes of the run that the answer should have opened."""

    def __call__(self, run_id: UUID, *, why: str, at: datetime) -> None: ...


def _end(
    claim: Claim,
    request_to: RequestStatus,
    delivery_to: DeliveryState,
    facts: dict[str, Any],
    *,
    from_states: tuple[DeliveryState, ...] = (D.SENT,),
    before: RequestStatus | None = None,
    wait_s: float | None = None,
    opened: EndRun | None = None,
    why: str = "",
    **narrowed: Any,
) -> None:
    """One end of one attempt: requests first, then the delivery, which says whether the claim still counts."""
    delivery = Delivery.objects.select_related("decision__request").get(pk=claim.delivery_id)
    record = Record(deadlines.now())
    moved_from = (before,) if before else (S.SENT, S.UNKNOWN)
    for one in carried(delivery):
        if one.status in moved_from and lifecycle.try_settle(one.pk, to=request_to, at=record.at, status=one.status):
            said = {"status": facts.get("answer_status"), "evidence": facts.get("evidence", "")}
            record.add(one, f"delivery.{delivery_to}", **said)
    over = delivery_to in (D.DELIVERED, D.REFUSED)
    facts = {"claim_expires_at": None, **facts, "finished_at": record.at if over else None}
    if wait_s is not None:
        facts["next_at"] = record.at + timedelta(seconds=wait_s)
    shifted = lifecycle.try_shift(
        delivery.pk, to=delivery_to, facts=facts, state__in=from_states, claim_epoch=claim.epoch, **narrowed
    )
    fault("outbox.ending")  # in any case: what the stream tells may have been quicker
    if not shifted:
        raise ClaimLost
    if opened is not None and delivery.answering_run_id is not None:
        opened(delivery.answering_run_id, why=why, at=record.at)
    record.write()


# --- after a crash --------------------------------------------------------------------------------------------------


def attempts(claim: Claim) -> int:
    """How often it was sent."""
    return Delivery.objects.values_list("attempts", flat=True).get(pk=claim.delivery_id)


def maybe_taken(claim: Claim) -> bool:
    """Whether an earlier attempt left and got no answer, so that a refusal now proves nothing."""
    return Delivery.objects.values_list("maybe_taken", flat=True).get(pk=claim.delivery_id)


@dataclass(frozen=True, slots=True)
class Lost:
    """A delivery whose courier is gone. `unsent`: no byte of it left, be it that it was only claimed."""

    claim: Claim
    state: DeliveryState
    kind: str  # the provider's
    unsent: bool


def lost_claims(*, every: bool = False) -> list[Lost]:
    """Claims that ran out (`every`: all, for the one process of a database) and `sent` ones without a living sender.

    The sender of an answer that streams lives as long as the run whose stream it is. Where that run is not opened any
    more, its call provably never left, and its courier ended before it could write so.
    """
    at = deadlines.now()
    over = Q(claim_expires_at__lte=at) if not every else Q()
    rows = Delivery.objects.filter(kind__in=OURS).filter(
        Q(state=D.CLAIMED) & over
        | Q(state=D.SENT, answering_run=None, answer_status=None) & over  # an answered one is confirming's
        | Q(state=D.SENT, answering_run__isnull=False, answering_run__opened_at=None) & over
        | Q(state=D.SENT, answering_run__ended_at__isnull=False)
    )
    return [
        Lost(
            claim=Claim(row.pk, row.claim_epoch, row.claim_owner, row.run.provider_id),
            state=DeliveryState(row.state),
            kind=row.run.provider.kind,
            unsent=row.answering_run.opened_at is None if row.answering_run else row.state == D.CLAIMED,
        )
        for row in rows.select_related("run__provider", "answering_run")[:ROWS_AT_ONCE]
        if row.run is not None
    ]
