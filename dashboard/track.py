"""An answer's way, station by station: decided, held, sent, delivered; what lies ahead is shown too."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from approvals.models import Decision, Delivery, DeliveryState, RequestStatus
from dashboard import words

if TYPE_CHECKING:
    from dashboard.slip import Slip

S = RequestStatus
D = DeliveryState


@dataclass(frozen=True, slots=True)
class Step:
    """One station of an answer on its way."""

    name: str
    how: Literal["done", "now", "future", "unknown", "failed"]
    at: datetime | None = None
    until: datetime | None = None
    note: str = ""


def track(slip: "Slip") -> list[Step]:
    """Decided, held, sent, delivered; what lies ahead is shown too."""
    decision, delivery, asked = slip.decision, slip.delivery, slip.asked
    if decision is None:
        return []
    who = "you" if slip.own else decision.by.get_username()
    made = [Step(f"{words.verdict(decision.verdict).text} by {who}", "done", decision.decided_at)]
    if decision.undone_at is not None:
        why = decision.get_undone_why_display() if decision.undone_why else "Undone"
        return [*made, Step("Nothing was sent", "failed", decision.undone_at, note=f"{why}.")]
    made.append(_held(slip, decision))
    made.append(_sent(slip, delivery))
    made.append(_delivered(slip, delivery))
    if asked.status in (S.EXPIRED, S.WITHDRAWN, S.STALE):
        made.append(Step(slip.word.text, "failed", asked.status_changed_at, note=slip.sentence))
    return made


def _held(slip: "Slip", decision: Decision) -> Step:
    if slip.asked.status == S.HELD:
        if slip.envelope and slip.envelope.open:
            done = f"{slip.envelope.answered} of {slip.envelope.total} decided, nothing sent yet"
            return Step("Held", "now", note=f"{done}. All answers of this run leave in one call.")
        note = "Nothing has left. Undo brings the slip back as it was." if slip.own else "Nothing has left."
        return Step("Held", "now", until=decision.leaves_at, note=note)
    return Step("Held", "done", note="" if decision.leaves_at > decision.decided_at else "no undo window")


def _sent(slip: "Slip", delivery: Delivery | None) -> Step:
    name = f"Sent to {slip.vendor}"
    if delivery is not None and delivery.sent_at is not None and slip.asked.status not in (S.HELD, S.DECIDING):
        return Step(name, "done", delivery.sent_at)
    if slip.asked.status != S.DECIDING:
        return Step(name, "future")
    if delivery is not None and delivery.state == D.PARKED:
        return Step(name, "now", note="Waits: the provider refused our secret. It goes on with a new one.")
    attempts = delivery.attempts if delivery else 0
    often = "once" if attempts == 1 else f"{attempts} times"
    tries = f"Tried {often}; it did not leave. We try again." if attempts else ""
    return Step(name, "now", note=tries or "On its way.")


def _delivered(slip: "Slip", delivery: Delivery | None) -> Step:
    at = delivery.finished_at if delivery else None
    match slip.asked.status:
        case S.DELIVERED:
            return Step("Delivered", "done", at, note=_evidence(delivery))
        case S.REFUSED:
            return Step("Refused by provider", "failed", at, note="Nothing ran because of it, as far as it says.")
        case S.UNKNOWN:
            return Step("Delivered?", "unknown", note="No answer. May have acted, may not have.")
        case S.SENT:
            return Step("Delivered", "now", note="No sign yet that it arrived.")
    return Step("Delivered", "future", note=f"when {slip.vendor} says so, or its stream shows it")


def _evidence(delivery: Delivery | None) -> str:
    if delivery is None or not delivery.evidence:
        return ""
    return f"Shown by: {delivery.evidence[:200]}"
