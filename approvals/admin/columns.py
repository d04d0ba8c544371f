"""How requests, decisions and deliveries are named and coloured wherever the admin shows them."""

from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from approvals.models import DeliveryState, Ran, RequestStatus
from streams.admin.columns import lasted, made, short, to, toned
from streams.admin.tables import field

S = RequestStatus
D = DeliveryState
STATUS_TONES = {S.DELIVERED: "ok", S.REFUSED: "stop", S.UNKNOWN: "doubt"} | dict.fromkeys(
    (S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED), "off"
)
STATE_TONES = {D.DELIVERED: "ok", D.REFUSED: "stop", D.UNKNOWN: "doubt", D.PARKED: "look", D.CANCELLED: "off"}
LIMITS = ("limits", "no_edit", "no_reason", "no_reject", "ran_arguments")
TEXTS = ("arguments", "message", "answer_schema", "problem", *LIMITS)
REQUEST_TEXTS = tuple(f"request__{name}" for name in TEXTS)


def tool(asked: Any) -> str:
    """How a request is named where something else points to it."""
    return f"{asked.tool} ({asked.get_status_display().lower()})"


def verdict(decision: Any) -> str:
    """How a decision is named where something else points to it."""
    return f"{decision.verdict} by {decision.by.get_username()}"


def serial(row: Any) -> str:
    """The beginning of a key."""
    return str(row.pk)[:8]


def in_state(row: Any) -> SafeString:
    """A delivery's state in its look."""
    return toned(row.get_state_display(), STATE_TONES.get(row.state, ""))


def _status(asked: Any) -> SafeString:
    if asked.ran == Ran.OTHERWISE:
        return toned("Ran other arguments", "stop")
    return toned(asked.get_status_display(), STATUS_TONES.get(asked.status, ""))


def _waited(asked: Any) -> SafeString:
    return lasted(asked.requested_at, asked.settled_at or timezone.now())


status = made(_status, "status", order="status")
waited = made(_waited, "waited")
named = made(lambda asked: to(asked, asked.tool or "a tool without a name"), "tool", order="tool")
state = made(in_state, "state", order="state")
DECIDED = (field("via"), field("decided_at"), field("undone_at", "did not count from"), field("undone_why", "because"))
CARRIED = (
    made(lambda row: to(row, f"{row.get_kind_display()} {row.event}".strip()), "delivery"),
    state,
    field("attempts"),
    field("sent_at"),
    field("finished_at"),
    short("evidence"),
    short("last_error"),
)
