"""What a person can do to a request from the admin: say what came of it, offer it again, withdraw it."""

from typing import Any

from approvals import decisions
from approvals.errors import DecisionRefused
from approvals.models import OPEN, RequestStatus
from streams.admin.acts import Act, ActRefused, Doer
from streams.models import ENDED

S = RequestStatus


def _resolve(asked: Any, doer: Doer, *, happened: bool) -> str:
    who: Any = {"by": doer.user, "note": doer.note, "via": "admin", "origin": doer.address}
    try:
        decisions.resolve_unknown(asked.pk, happened=happened, **who)
    except DecisionRefused as exc:
        raise ActRefused(exc.detail) from exc
    return "Noted: it happened." if happened else "Noted: it did not happen."


def _reoffer(asked: Any, doer: Doer) -> str:
    try:
        decisions.reoffer(asked.pk, by=doer.user, note=doer.note, via="admin", origin=doer.address)
    except DecisionRefused as exc:
        raise ActRefused(exc.detail) from exc
    return "Offered again as a new version, which can be decided."


def _withdraw(asked: Any, doer: Doer) -> str:
    try:
        decisions.withdraw(asked.pk, by=doer.user, note=doer.note, via="admin", origin=doer.address)
    except DecisionRefused as exc:
        raise ActRefused(exc.detail) from exc
    return "Withdrawn. The provider was told nothing."


def _not_unknown(asked: Any) -> str:
    return "" if asked.status == S.UNKNOWN else "it is not unknown what came of it"


def _not_open_again(asked: Any) -> str:
    if asked.status not in (S.UNKNOWN, S.REFUSED):
        return "it is neither unknown nor refused by the provider"
    return "its run is over" if asked.run.status in ENDED else ""


def _not_waiting(asked: Any) -> str:
    return "" if asked.status in OPEN else "it is not open any more"


ACTS = (
    Act(
        "happened",
        "It happened",
        "You found out that the answer took effect. The request becomes delivered; nothing is sent.",
        decisions.PERMISSION,
        lambda asked, doer: _resolve(asked, doer, happened=True),
        _not_unknown,
        note="Where did you see it?",
    ),
    Act(
        "did-not-happen",
        "It did not happen",
        "You found out that the answer was not taken. The request becomes refused by the provider; nothing is sent.",
        decisions.PERMISSION,
        lambda asked, doer: _resolve(asked, doer, happened=False),
        _not_unknown,
        note="Where did you see it?",
    ),
    Act(
        "offer-again",
        "Offer again",
        "You found out that the provider still waits. A new version can be decided, this one becomes stale."
        " A batch is offered again as a whole.",
        decisions.PERMISSION,
        _reoffer,
        _not_open_again,
        note="How is it known that the provider still waits?",
    ),
    Act(
        "withdraw",
        "Withdraw",
        "Nobody should answer it any more. It ends as withdrawn, and a decision on it that has not left does not count."
        " The provider is told nothing and may go on waiting.",
        "approvals.withdraw_request",
        _withdraw,
        _not_waiting,
        note="Why should nobody answer it?",
        grave=True,
    ),
)
