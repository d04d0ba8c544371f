"""Answers whose effect only the run itself shows: which of its readings count, and how long they are waited for.

A 2xx keeps the answer `sent` until the run no longer lists the question; where that does not come in `confirm_s` it is
unknown. A no (404, 409, 422 ...) ends as refused; the run says whether the question is closed or still open, and then a
new version of it opens. Without a word the answer is unknown at once, and the run alone can lift that.

Which readings count. A run's readings are made one after the other by whoever holds its lease, and one that is stored
is committed before the next is asked for. So of two that were stored after a moment the second was asked for after it,
and no clocks of two machines are compared.

- *Still listed* may be older than the answer. It counts at the second reading that says so: after a no, or once the
  answer has had `confirm_s` to take effect.
- *Gone* settles the answer for good; what a later reading lists under the same id is another question. What it cannot
  tell is who answered, so a reading that may have been asked for before the answer left counts for nothing: it must
  be the second since then. The first one counts by the time at which it was asked for (the event's own) where the
  provider said yes, for then only the effect is to be shown, and where the run is over, for then no second one comes;
  with both, whatever that time is.
"""

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from approvals import deadlines, evidence, outbox, replies
from approvals.answers import public_account_of, view_of
from approvals.audit import Record
from approvals.endings import storable_id
from approvals.models import ApprovalRequest, Delivery, DeliveryState, RequestStatus
from approvals.outbox import OURS, ROWS_AT_ONCE, Claim, ClaimLost
from approvals.replies import Meaning
from streams import events, providers, runs
from streams.events import Asked, Ended, Fact
from streams.journal import Stored
from streams.models import Event, Run, Source
from streams.providers.base import READ_BACK

S = RequestStatus
D = DeliveryState

ELSEWHERE = "The run no longer lists the question: it was answered outside of Countersign, or nobody waits for it."
NOTHING_SHOWS = "The provider took the answer (HTTP {status}), and nothing showed what came of it within {s:g} s."
NOBODY_LOOKS = "The provider took the answer (HTTP {status}), and this version cannot look what came of it."
STILL_ASKS = "The provider took the answer (HTTP {status}), and {s:g} s later the run still asked."


def needed(delivery: Delivery) -> float | None:
    """How long a delivery's provider has to show the effect; None: its answers count by themselves."""
    adapter = providers.REGISTRY.get(delivery.run.provider.kind) if delivery.run else None
    return adapter.capabilities.confirm_s if adapter else None


@transaction.atomic
def begin(claim: Claim, *, status: int, answer: str, confirm_s: float) -> None:
    """The provider answered, and the run is to show what that means. Also where we had given up waiting for it.

    Raises ClaimLost.
    """
    delivery, asked = _hold(claim.delivery_id)
    record = Record(deadlines.now())
    delivery.answer_status, delivery.answer = status, events.text(answer)[0]
    facts = {
        "answer_status": status,
        "answer": delivery.answer,
        "claim_expires_at": record.at + timedelta(seconds=confirm_s),
    }
    mine = Delivery.objects.filter(pk=delivery.pk, claim_epoch=claim.epoch, state__in=(D.SENT, D.UNKNOWN))
    if not mine.update(**facts):
        raise ClaimLost
    for one in asked:
        record.add(one, "delivery.answered", status=status)
    _look_back(delivery, record)
    record.write()


@transaction.atomic
def look_back(claim: Claim) -> None:
    """An answer without a word: have the run read, and hold against it what was stored while it was on its way."""
    delivery, _ = _hold(claim.delivery_id)
    record = Record(deadlines.now())
    _look_back(delivery, record)
    record.write()


def _hold(delivery_id: UUID) -> tuple[Delivery, list[ApprovalRequest]]:
    """A delivery and its requests while no event of its run is being stored; locked in the order of everywhere."""
    rows = Delivery.objects.filter(pk=delivery_id)
    outbox.hold_still(rows.values_list("run", flat=True).get())
    delivery = rows.select_related("run__provider", "decision__request").get()
    ids = [one.pk for one in outbox.carried(delivery)]
    return delivery, list(ApprovalRequest.objects.select_for_update().filter(pk__in=ids).order_by("pk"))


def _look_back(delivery: Delivery, record: Record) -> None:
    assert delivery.run_id is not None
    told = _last_reading(delivery)
    if told is not None:
        weigh(told, delivery, record, late=True)
    runs.nudge(delivery.run_id)


def _readings(delivery: Delivery) -> Q:
    return Q(
        run=delivery.run_id, source=Source.PROVIDER, kind=READ_BACK, ordinal=None, seq__gt=delivery.sent_after_seq or 0
    )


def _last_reading(delivery: Delivery) -> Stored | None:
    """The newest stored reading of the run since the answer left; None where nobody here can read one of its kind."""
    if needed(delivery) is None:
        return None
    row = Event.objects.filter(_readings(delivery)).order_by("-seq").first()
    if row is None:
        return None
    ended = delivery.run is not None and delivery.run.ended_at is not None
    return _as_stored(row, (Ended("finished"),) if ended else ())


def _as_stored(row: Event, facts: tuple[Fact, ...] = ()) -> Stored:
    return Stored(
        run_id=row.run_id,
        seq=row.seq,
        source=Source(row.source),
        kind=row.kind,
        payload=row.payload,
        sha256=row.sha256,
        marked=row.marked,
        received_at=row.received_at,
        facts=facts,
    )


# --- what a reading shows -------------------------------------------------------------------------------------------


def weigh(told: Stored, delivery: Delivery, record: Record, *, late: bool = False) -> list[ApprovalRequest]:
    """Hold one event against one delivery. Returns the requests whose questions the run asks still, or anew.

    `late`: it was stored before the answer to our call came, so what it still lists says nothing.
    """
    if told.kind != READ_BACK or told.source != Source.PROVIDER or told.run_id != delivery.run_id:
        return []
    word = _word(delivery)
    if told.seq <= (delivery.sent_after_seq or 0) or (word is None and delivery.state == D.SENT):
        return []  # the answer to our call is on its way, and what is stored meanwhile is looked at when it is here
    waited = word is Meaning.REFUSED or (delivery.state == D.UNKNOWN and delivery.claim_expires_at is None)
    asking = []
    for one in outbox.carried(delivery):
        if one.status not in (S.SENT, S.UNKNOWN):
            continue
        shown = evidence.shown(told, delivery, one)
        # After a yes, other arguments under the same id are the next question: the one that was answered is gone.
        anew = (
            shown == "not_applied" and word is Meaning.DELIVERED and not late and _asks_otherwise(told, delivery, one)
        )
        shown = "applied" if anew else shown
        if shown == "applied" and word is Meaning.REFUSED:
            Delivery.objects.filter(pk=delivery.pk).update(last_error=ELSEWHERE)
            evidence.settle(one, S.REFUSED, told, record)
        elif shown == "applied" and _asked_since(told, delivery, word):
            evidence.settle(one, S.DELIVERED, told, record)
            asking += [one] if anew else []
        elif shown == "not_applied" and waited and not late and _second(told, delivery):
            evidence.settle(one, S.REFUSED, told, record)
            asking.append(one)
        elif shown == "applied" or (shown == "not_applied" and waited):
            runs.nudge(told.run_id)  # the next one decides
    evidence.conclude(delivery, told, record)
    return asking


def listing(told: Stored, run: Run) -> dict[str, Asked]:
    """The questions that a reading of the run lists, by the ids under which they are kept."""
    adapter = providers.get(run.provider.kind)
    _, facts = adapter.read_run(adapter.initial(public_account_of(run.provider), view_of(run)), told.payload)
    found: dict[str, Asked] = {}
    for fact in facts:
        if isinstance(fact, Asked):
            found.setdefault(storable_id(fact.call_id), fact)
    return found


def listed_last(run: Run, call_id: str) -> tuple[Stored, Asked] | None:
    """A question as the newest stored reading of its run lists it; None where there is none, or it does not."""
    adapter = providers.REGISTRY.get(run.provider.kind)
    if adapter is None or not adapter.capabilities.read_back:
        return None
    readings = Event.objects.filter(run=run, source=Source.PROVIDER, kind=READ_BACK, ordinal=None)
    row = readings.order_by("-seq").first()
    told = _as_stored(row) if row else None
    fact = listing(told, run).get(call_id) if told else None
    return (told, fact) if told and fact else None


def _asks_otherwise(told: Stored, delivery: Delivery, one: ApprovalRequest) -> bool:
    assert delivery.run is not None
    fact = listing(told, delivery.run).get(one.call_id)
    return fact is not None and one.canonical_sha256 != events.canonical_sha256(events.text(fact.arguments)[0])


def _word(delivery: Delivery) -> Meaning | None:
    """What the provider said to the answer, if that settles anything."""
    said = replies.meaning(delivery.answer_status) if delivery.answer_status else None
    return said if said is Meaning.DELIVERED or (said is Meaning.REFUSED and not delivery.maybe_taken) else None


def _asked_since(told: Stored, delivery: Delivery, word: Meaning | None) -> bool:
    """Whether a reading was asked for after the answer left, as far as that matters."""
    if Event.objects.filter(_readings(delivery), seq__lt=told.seq).exists():
        return True
    dated_later = delivery.sent_at is not None and told.received_at >= delivery.sent_at
    over = any(isinstance(fact, Ended) for fact in told.facts)
    return (dated_later or over) if word is Meaning.DELIVERED else (dated_later and over)


def _second(told: Stored, delivery: Delivery) -> bool:
    """Whether an earlier reading said already that the question is listed; else this one is kept as the first."""
    if delivery.contrary_seq is None:
        Delivery.objects.filter(pk=delivery.pk).update(contrary_seq=told.seq)
        delivery.contrary_seq = told.seq
    return delivery.contrary_seq < told.seq


# --- by the clock ---------------------------------------------------------------------------------------------------


def end_due() -> None:
    """Say what becomes of answers whose effect has not shown in time."""
    late = Q(state=D.SENT, answer_status__isnull=False) | Q(state=D.UNKNOWN)
    rows = Delivery.objects.filter(late, kind__in=OURS, claim_expires_at__lte=deadlines.now())
    for row in rows.select_related("run__provider", "decision__request")[:ROWS_AT_ONCE]:
        assert row.run is not None  # a constraint: only webhooks have none
        claim = Claim(row.pk, row.claim_epoch, row.claim_owner, row.run.provider_id)
        try:
            if _word(row) is Meaning.REFUSED:
                outbox.mark_refused(claim, status=row.answer_status, answer=row.answer)
            elif row.state == D.SENT:
                outbox.mark_unknown(claim, status=row.answer_status, why=_why(row), confirm_s=needed(row))
            else:
                _end_patience(row)
        except ClaimLost:
            continue


@transaction.atomic
def _end_patience(row: Delivery) -> None:
    """From now on a question that is still listed counts against its answer."""
    delivery, _ = _hold(row.pk)
    record = Record(deadlines.now())
    if Delivery.objects.filter(pk=row.pk, state=D.UNKNOWN, claim_epoch=row.claim_epoch).update(claim_expires_at=None):
        _look_back(delivery, record)  # once more: whoever was to do it may have died
    record.write()


def _why(row: Delivery) -> str:
    limit_s, told = needed(row), _last_reading(row)
    if limit_s is None:
        return NOBODY_LOOKS.format(status=row.answer_status)
    asks = told and any(evidence.shown(told, row, one) == "not_applied" for one in outbox.carried(row))
    return (STILL_ASKS if asks else NOTHING_SHOWS).format(status=row.answer_status, s=limit_s)
