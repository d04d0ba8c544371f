"""decide(): the one door for people, behind page, API and admin alike; undo, and what people say about the unknown."""

from collections.abc import Callable, Mapping
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import Q

from approvals import answers, audit, batches, checks, deadlines, endings, lifecycle, outbox, requests
from approvals.audit import Record
from approvals.checks import Said
from approvals.errors import AlreadyDecided, InputChanged, InvalidDecision, NotAllowed, NotPending, UndoRefused
from approvals.models import ApprovalRequest, Batch, Decision, Delivery, DeliveryState, RequestStatus, Undone, Vote
from streams import events, jsontext, openings, providers
from streams.faults import fault
from streams.models import ENDED

S = RequestStatus
PERMISSION = "approvals.decide_request"
WITHDRAWING = "approvals.withdraw_request"
Refusal = tuple[str, str]  # the API's code, and words


def refusal(by: AbstractUser, asked: ApprovalRequest) -> Refusal | None:
    """Why this person may not decide this request; None: they may."""
    if not by.is_active or not by.has_perm(PERMISSION):
        return "not_permitted", f"{by.get_username()} may not decide requests"
    run = asked.run
    if run.provider.options.get("four_eyes") is True and run.started_by_id == by.pk:
        return "own_run", "whoever started a run may not decide what it asks"
    return None


def may_decide(by: AbstractUser, asked: ApprovalRequest) -> bool:
    """Whether this person may decide this request."""
    return refusal(by, asked) is None


def may_withdraw(by: AbstractUser) -> bool:
    """Whether this person may end requests that nobody should answer any more."""
    return by.is_active and by.has_perm(WITHDRAWING)


def read_only(asked: ApprovalRequest) -> str:
    """Why nobody can decide this request from here, in words for the reviewer; empty where it can be done."""
    provider = asked.run.provider
    adapter = providers.REGISTRY.get(provider.kind)
    if adapter is None:
        return f"This version of Countersign knows no provider of the kind {provider.kind}."
    return adapter.decidable(answers.public_account_of(provider))


def decide(
    request_id: UUID,
    *,
    verdict: str,
    by: AbstractUser,
    seen_sha256: str,
    reason: str = "",
    edited: str = "",
    answer: str = "",
    undo_s: int = 0,
    via: str = "page",
    origin: str = "",
) -> Decision:
    """Decide a pending request; the first decision wins. `edited` and `answer` are JSON texts, empty for none.

    Raises NotAllowed, InvalidDecision, AlreadyDecided, InputChanged, NotPending; nothing was written then.
    """
    asked = _load(request_id, by, via=via, origin=origin, refused=_may_not_decide)
    said = Said(verdict, reason, edited, answer)
    if wrong := checks.problem(asked, said, undo_s=undo_s):
        if asked.status != S.PENDING or asked.input_sha256 != seen_sha256:
            raise _why_not(request_id, by, said, seen_sha256)  # who is too late is told that, whatever else is wrong
        raise InvalidDecision(request_id, *wrong)
    with transaction.atomic():
        if asked.batch_id:
            batches.lock(asked.batch_id)  # before the clock is read, so that the last one is the latest
        record = Record(deadlines.now(), actor=by.get_username(), origin=_from(via, origin))
        in_time = Q(deadline=None) | Q(deadline__gt=record.at + deadlines.margin())
        if not lifecycle.try_settle(
            request_id, in_time, to=S.HELD, at=record.at, status=S.PENDING, input_sha256=seen_sha256
        ):
            raise _why_not(request_id, by, said, seen_sha256)
        decision = _write(asked, said, by, seen_sha256, undo_s, via, record)
        record.add(asked, "decision.made", **_proof(decision))
        outbox.enqueue(decision, asked, record)
        record.write()
        fault("decision.uncommitted")
    fault("decision.committed")
    return decision


def undo(request_id: UUID, *, by: AbstractUser, via: str = "page", origin: str = "") -> Decision:
    """Take one's own decision back while it has not left. Raises UndoRefused."""
    asked = ApprovalRequest.objects.get(pk=request_id)
    with transaction.atomic():
        if asked.batch_id:
            batches.lock(asked.batch_id)  # before the clock is read, so that the last one is the latest
        record = Record(deadlines.now(), actor=by.get_username(), origin=_from(via, origin))
        decision = Decision.objects.filter(request=asked, undone_at=None).select_related("by").first()
        if decision is None or decision.by_id != by.pk:
            raise UndoRefused(request_id, "there is no decision of yours to take back", decision=decision)
        # A batch leaves as a whole: until then (it is `held` until then) each of its decisions can be taken back.
        open_still = asked.batch_id is not None or decision.leaves_at > record.at
        if not open_still or not lifecycle.try_settle(request_id, to=S.PENDING, at=record.at, status=S.HELD):
            raise UndoRefused(request_id, "the decision is on its way", decision=decision)
        outbox.void(asked, why=Undone.UNDONE, record=record)
        if asked.batch_id:
            batches.reschedule(asked.batch_id, record)
        record.add(asked, "decision.undone", decision=str(decision.pk))
        record.write()
    decision.refresh_from_db()
    return decision


def resolve_unknown(
    request_id: UUID, *, by: AbstractUser, happened: bool, note: str, via: str = "page", origin: str = ""
) -> None:
    """A person found out what came of an answer: it took effect (delivered) or it was not taken (refused).

    Raises NotAllowed, InvalidDecision (a note is needed) or NotPending (it is not unknown any more).
    """
    asked = _load(request_id, by, via=via, origin=origin)
    _need_note(request_id, note)
    with transaction.atomic():
        record = Record(deadlines.now(), actor=by.get_username(), origin=_from(via, origin))
        to = S.DELIVERED if happened else S.REFUSED
        lifecycle.settle(request_id, to=to, at=record.at, status=S.UNKNOWN)
        _conclude(asked, f"{by.get_username()}: {note}", record)
        record.add(asked, "request.resolved", happened=happened, note_sha256=events.sha256(note))
        record.write()


def reoffer(request_id: UUID, *, by: AbstractUser, note: str, via: str = "page", origin: str = "") -> ApprovalRequest:
    """A person found out that the provider still waits: a new version can be decided, the old one ends stale.

    A batch is offered again as a whole. Raises NotAllowed, InvalidDecision (a note is needed) or NotPending (it is
    neither unknown nor refused, a part of its batch was taken, or its run is over).
    """
    asked = _load(request_id, by, via=via, origin=origin)
    _need_note(request_id, note)
    with transaction.atomic():
        if asked.batch_id:
            batches.lock(asked.batch_id)  # before the clock is read, so that the last one is the latest
        record = Record(deadlines.now(), actor=by.get_username(), origin=_from(via, origin))
        asked = ApprovalRequest.objects.select_related("run").get(pk=request_id)
        found = batches.members(asked.batch_id) if asked.batch_id else [asked]
        again = (S.UNKNOWN, S.REFUSED) if len(found) == 1 else (S.UNKNOWN, S.REFUSED, *answers.BY_NOBODY)
        if (
            asked.status in answers.BY_NOBODY
            or any(one.status not in again for one in found)
            or asked.run.status in ENDED
        ):
            raise NotPending(request_id, "it is not known to be open: it was taken, ended, or its run is over")
        batch = next_round(asked, len(found))
        made = {one.pk: requests.offer_again(one, batch, record) for one in found}
        _conclude(asked, f"{by.get_username()}: {note}", record)
        if batch is not None:
            batches.reschedule(batch.pk, record)
        record.add(asked, "request.reoffered", note_sha256=events.sha256(note))
        record.write()
    return made[request_id]


def withdraw(request_id: UUID, *, by: AbstractUser, note: str, via: str = "page", origin: str = "") -> None:
    """End a request that nobody should answer any more; a decision on it that has not left is void.

    Nothing of it is sent. In a batch it counts as answered by nobody, as an expired one does; where nobody answered
    the others either, nothing of the batch is sent. Raises NotAllowed, InvalidDecision (a note is needed), NotPending.
    """
    asked = _load(request_id, by, via=via, origin=origin, refused=_may_not_withdraw, denied="withdrawal.denied")
    _need_note(request_id, note, "say why")
    with transaction.atomic():
        if asked.batch_id:
            batches.lock(asked.batch_id)  # before the clock is read, so that the last one is the latest
        record = Record(deadlines.now(), actor=by.get_username(), origin=_from(via, origin))
        why = events.short(f"Withdrawn by {by.get_username()}: {' '.join(note.split())}", 300)
        if not endings.withdraw(asked, why=why, record=record, note_sha256=events.sha256(note)):
            asked.refresh_from_db()
            raise NotPending(request_id, f"it is not open any more: {asked.get_status_display().lower()}")
        record.write()


# --- parts ----------------------------------------------------------------------------------------------------------


def _may_not_decide(by: AbstractUser, asked: ApprovalRequest) -> Refusal | None:
    if refused := refusal(by, asked):
        return refused
    words = read_only(asked)
    return ("read_only", words) if words else None


def _may_not_withdraw(by: AbstractUser, asked: ApprovalRequest) -> Refusal | None:
    return None if may_withdraw(by) else ("not_permitted", f"{by.get_username()} may not withdraw requests")


def _load(
    request_id: UUID,
    by: AbstractUser,
    *,
    via: str,
    origin: str,
    refused: Callable[[AbstractUser, ApprovalRequest], Refusal | None] = refusal,
    denied: str = "decision.denied",
) -> ApprovalRequest:
    """The request, for somebody who may do this with it; a refusal is kept for the auditor."""
    asked = ApprovalRequest.objects.select_related("run__provider").get(pk=request_id)
    if why_not := refused(by, asked):
        code, words = why_not
        with transaction.atomic():
            audit.append(
                action=denied,
                actor=by.get_username(),
                target=f"request:{request_id}",
                origin=_from(via, origin),
                data={"code": code},
            )
        raise NotAllowed(request_id, words, code=code)
    return asked


def _from(via: str, origin: str) -> str:
    return f"{via} {origin}".strip()


def _need_note(request_id: UUID, note: str, ask: str = "say how it is known") -> None:
    if not note.strip() or len(note) > checks.REASON_MAX or jsontext.UNSTORABLE.search(note):
        raise InvalidDecision(request_id, "note", f"{ask}, in at most {checks.REASON_MAX} characters")


def _write(
    asked: ApprovalRequest, said: Said, by: AbstractUser, seen_sha256: str, undo_s: int, via: str, record: Record
) -> Decision:
    Vote.objects.create(
        request=asked,
        by_id=by.pk,
        verdict=said.verdict,
        reason=said.reason,
        seen_sha256=seen_sha256,
        voted_at=record.at,
    )
    return Decision.objects.create(
        request=asked,
        by_id=by.pk,
        verdict=said.verdict,
        reason=said.reason,
        edited=said.edited,
        answer=said.answer,
        seen_sha256=seen_sha256,
        via=via[:20],
        decided_at=record.at,
        leaves_at=deadlines.leaves_at(record.at, undo_s=undo_s, deadline=asked.deadline),
    )


def _proof(decision: Decision) -> Mapping[str, str | int]:
    """What the audit chain keeps of a decision: hashes of what was written, never the texts."""
    texts = {"reason": decision.reason, "edited": decision.edited, "answer": decision.answer}
    return {
        "decision": str(decision.pk),
        "verdict": decision.verdict,
        "seen_sha256": decision.seen_sha256,
        "leaves_at": decision.leaves_at.isoformat(),
        **{f"{name}_sha256": events.sha256(text) for name, text in texts.items() if text},
    }


def _why_not(
    request_id: UUID, by: AbstractUser, said: Said, seen_sha256: str
) -> AlreadyDecided | InputChanged | NotPending:
    """Why the conditional UPDATE found nothing; with the decision that counts, if there is one."""
    asked = ApprovalRequest.objects.get(pk=request_id)
    decision = Decision.objects.filter(request=asked, undone_at=None).select_related("by").first()
    if decision is not None:
        own = decision.by_id == by.pk and said == Said(
            decision.verdict, decision.reason, decision.edited, decision.answer
        )
        who = "you" if decision.by_id == by.pk else decision.by.get_username()
        return AlreadyDecided(request_id, f"already decided by {who}", decision=decision, own=own)
    if asked.status == S.SUPERSEDED or (asked.status == S.PENDING and asked.input_sha256 != seen_sha256):
        return InputChanged(request_id, "the arguments have changed since you saw them")
    if asked.status == S.PENDING:
        return NotPending(request_id, "its deadline is over")
    return NotPending(request_id, f"it is not open any more: {asked.get_status_display().lower()}")


def next_round(asked: ApprovalRequest, total: int) -> Batch | None:
    """The batch in which the questions of this request's own are offered again; None where it has none."""
    if asked.batch_id is None:
        return None
    rounds = Batch.objects.filter(run=asked.run_id).count()
    return Batch.objects.create(run_id=asked.run_id, round=rounds + 1, total=total)


def _conclude(asked: ApprovalRequest, evidence: str, record: Record) -> None:
    """The delivery of a request that a person settled, once all that it carried is settled."""
    mine = Q(batch=asked.batch_id) if asked.batch_id else Q(decision__request=asked)
    for delivery in Delivery.objects.filter(mine, state=DeliveryState.UNKNOWN).select_related("decision__request"):
        statuses = {one.status for one in outbox.carried(delivery)}
        if S.UNKNOWN not in statuses and S.SENT not in statuses:
            to = DeliveryState.DELIVERED if S.DELIVERED in statuses else DeliveryState.REFUSED
            lifecycle.try_shift(delivery.pk, to=to, facts={"evidence": evidence, "finished_at": record.at})
            if to == DeliveryState.DELIVERED and delivery.answering_run_id:
                openings.continued(delivery.answering_run_id)  # the run that asked waits for nobody any more
